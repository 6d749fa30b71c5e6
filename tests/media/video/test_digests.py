"""Digests of a video's streams: the same in every copy of the packets, and only there."""

import json

import numpy as np
import pytest

from multitalk_cli.media.audio.tracks import write_sound_track
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.digests import KEY, digest, read_packets
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.media.video.video import join_segments
from tests.media.audio.sounds import speech_like, write_wav
from tests.media.video.videos import joined, numbered, write_segment


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A video of two windows, of 30 and 20 frames, with sound."""
    folder = tmp_path_factory.mktemp("talk")
    segments = [
        write_segment(folder / "1.mp4", numbered(30)),
        write_segment(folder / "2.mp4", numbered(20, start=30)),
    ]
    wav = write_wav(folder / "a.wav", speech_like(2.0, 16_000), 16_000)
    write_sound_track([load_voice(wav)], "sequence", folder / "s.flac", 50, 24)
    target = folder / "talk.mp4"
    recipe = join_segments(
        segments, folder / "s.flac", target, frames=50, fps=24, recipe='{"seed": 1}'
    )
    assert read_recipe(target) == json.loads(recipe)
    return target


def copied(talk, target, *options):
    """A copy of a video by ffmpeg with these options."""
    ffmpeg.run(["-i", str(talk), *options, "-y", str(target)])
    return target


def recorded(video):
    return read_recipe(video)[KEY]


def test_the_recipe_holds_digests_of_each_window_and_of_the_sound(talk):
    packets, kept = read_packets(talk), recorded(talk)

    assert kept["frames"] == [[30, digest(packets.frames[:30])], [20, digest(packets.frames[30:])]]
    assert kept["sound"] == [len(packets.sound) - 4, digest(packets.sound[2:-2])]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
def test_digests_survive_every_copy_of_the_packets(talk, tmp_path, suffix):
    there = copied(talk, tmp_path / f"there.{suffix}", "-c", "copy")
    back = copied(there, tmp_path / "back.mp4", "-c", "copy")

    assert read_packets(back).digests([30, 20]) == read_packets(talk).digests([30, 20])


def test_frames_that_an_edit_hides_count_too(talk, tmp_path):
    cut = copied(talk, tmp_path / "cut.mp4", "-c", "copy", "-ss", "1")

    assert set(read_packets(talk).frames) >= set(read_packets(cut).frames)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_an_encoded_copy_has_other_digests(talk, tmp_path, encoder):
    again = read_packets(copied(talk, tmp_path / "again.mp4", "-c:v", encoder, "-c:a", "copy"))

    assert not set(again.frames) & set(read_packets(talk).frames)
    assert again.sound == read_packets(talk).sound


def test_a_video_without_sound_says_so(tmp_path):
    assert recorded(joined(tmp_path))["sound"] is None


def test_the_same_frames_have_the_same_digests(talk, tmp_path):
    segment = write_segment(tmp_path / "1.mp4", numbered(30))
    other = np.roll(numbered(20, start=30), 1, axis=2)
    write_segment(tmp_path / "2.mp4", other)
    join_segments(
        [segment, tmp_path / "2.mp4"], None, tmp_path / "b.mp4", frames=50, fps=24, recipe="{}"
    )
    first, second = recorded(tmp_path / "b.mp4")["frames"]

    assert first == recorded(talk)["frames"][0]
    assert second != recorded(talk)["frames"][1]


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ({"note": 65_500}, {"note"}),
        ({"note": 100, "quality": 70_000}, {"note"}),
        ({"prompt": 70_000, "note": 100}, {"note"}),
        ({"prompt": 100, "quality": 70_000}, {"prompt"}),
    ],
)
def test_what_makes_a_recipe_too_long_is_left_out(tmp_path, lengths, kept):
    recipe = json.dumps({name: "x" * length for name, length in lengths.items()})

    assert set(read_recipe(joined(tmp_path, recipe=recipe))) == kept
