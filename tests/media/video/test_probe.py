"""The properties of an MP4, and files that have none."""

from fractions import Fraction

import numpy as np
import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.media.audio.tracks import write_sound_track
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from tests.media.audio.sounds import film, speech_like, write_wav
from tests.media.video.videos import joined


def test_what_is_no_mp4_cannot_be_probed(tmp_path):
    whole = joined(tmp_path).read_bytes()
    for name, data in {
        "text": b"text" * 9,
        "cut": whole[: len(whole) // 2],
        "head": whole[:40],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FileError) as caught:
            probe_video(tmp_path / name)
        assert caught.value.code == "E_VIDEO_BROKEN"


def test_damaged_indexes_are_refused_and_never_a_bug(tmp_path):
    wav = write_wav(tmp_path / "a.wav", speech_like(1.25))
    write_sound_track([load_voice(wav)], "sequence", tmp_path / "s.flac", 30, 24)
    whole = bytearray(joined(tmp_path, sound=tmp_path / "s.flac").read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for at in random.integers(0, 4000, random.integers(1, 9)):
            damaged[at] = random.choice([0, 1, 0x7F, 0xFF, random.integers(256)])
        (tmp_path / "x.mp4").write_bytes(damaged)
        read_recipe(tmp_path / "x.mp4")
        try:
            probe_video(tmp_path / "x.mp4")
        except FileError as error:
            refused += error.code == "E_VIDEO_BROKEN"
    assert refused > 20


def test_a_film_by_others_can_be_probed(tmp_path):
    wav = write_wav(tmp_path / "a.wav", speech_like(2, 22_050), 22_050)
    info = probe_video(film(tmp_path / "a.mp4", wav, seconds=2))
    assert (info.width, info.frames, info.fps, info.has_audio) == (64, 48, Fraction(24), True)
    assert not info.faststart
