"""Videos: exact frames, colours and times, whole or absent."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from multitalk_cli import files
from multitalk_cli.contract import frames_from_samples
from multitalk_cli.errors import FileError
from multitalk_cli.media.audio.tracks import write_sound_track
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.media.video.video import VideoWriter, join_segments, read_frames
from tests.media.audio.sounds import (
    click_times,
    clicks,
    real_voice,
    sha256,
    speech_like,
    write_wav,
)
from tests.media.video.videos import joined, numbered, shown_numbers, write_segment
from tests.recordings import extra_inputs
from tests.waiting import HANG_S

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fps", [8, 24, 25, 30, 60])
@pytest.mark.parametrize(
    "counts", [(1,), (2,), (5,), (81,), (57, 56, 1, 24), (1, 1, 1), (4, 3, 2, 33)]
)
def test_segments_join_to_exactly_their_frames(tmp_path, fps, counts):
    starts = np.cumsum([0, *counts])
    segments = [
        write_segment(tmp_path / f"{n}.mp4", numbered(count, start=starts[n]), fps)
        for n, count in enumerate(counts)
    ]
    total = sum(counts)
    join_segments(segments, None, tmp_path / "out.mp4", frames=total, fps=fps, recipe="{}")
    info = probe_video(tmp_path / "out.mp4")
    assert (info.frames, info.fps, info.duration_s) == (total, Fraction(fps), total / fps)
    assert shown_numbers(tmp_path / "out.mp4") == [n % 256 for n in range(total)]


def test_many_segments_do_not_drift(tmp_path):
    # 7 frames at 24 fps are no whole number of microseconds.
    segment = write_segment(tmp_path / "s.mp4", numbered(7))
    join_segments([segment] * 300, None, tmp_path / "out.mp4", frames=2100, fps=24, recipe="{}")
    info = probe_video(tmp_path / "out.mp4")
    assert (info.frames, info.fps, info.duration_s) == (2100, Fraction(24), 87.5)


def test_the_file_is_what_browsers_and_editors_expect(tmp_path):
    wav = write_wav(tmp_path / "a.wav", speech_like(1.25, 44_100, channels=2), 44_100)
    write_sound_track([load_voice(wav)], "sequence", tmp_path / "s.flac", 30, 24)
    info = probe_video(joined(tmp_path, sound=tmp_path / "s.flac"))
    assert (info.width, info.height, info.pix_fmt, info.faststart) == (64, 32, "yuv420p", True)
    # Primaries, transfer and matrix of BT.709, limited range.
    assert info.color == (1, 1, 1, False)
    assert (info.audio_rate_hz, info.audio_channels, info.audio_duration_s) == (44_100, 2, 1.25)


@pytest.mark.parametrize(
    "color",
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (255, 224, 189), (16, 200, 90)],
)
def test_colours_survive(tmp_path, color):
    frames = np.broadcast_to(np.array(color, np.uint8), (5, 32, 64, 3)).copy()
    decoded = list(read_frames(write_segment(tmp_path / "s.mp4", frames, crf=10)))
    # One level of 8-bit limited range is 1.2 levels of full range; a wrong matrix is off by 20.
    assert np.abs(np.stack(decoded).astype(int) - frames).max() <= 4


def test_a_lower_crf_looks_closer_to_the_original(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 64, 3)).astype(np.uint8)
    frames = frames.repeat(4, 1).repeat(4, 2)
    errors = []
    for crf in (5, 40):
        decoded = np.stack(list(read_frames(write_segment(tmp_path / "s.mp4", frames, crf=crf))))
        errors.append(np.abs(decoded.astype(int) - frames).mean())
    assert errors[0] < errors[1] / 2


def test_same_frames_give_the_same_bytes(tmp_path):
    frames = np.random.default_rng(1).integers(0, 255, (40, 96, 128, 3)).astype(np.uint8)
    one = write_segment(tmp_path / "one.mp4", frames)
    with VideoWriter(
        tmp_path / "two.mp4", width=128, height=96, fps=24, preset="veryfast"
    ) as writer:
        for frame in frames:
            writer.write(frame)
    assert sha256(one) == sha256(tmp_path / "two.mp4")
    for name in ("a", "b"):
        join_segments([one], None, tmp_path / f"{name}.mp4", frames=40, fps=24, recipe="{}")
    assert sha256(tmp_path / "a.mp4") == sha256(tmp_path / "b.mp4")


@pytest.mark.parametrize("fps", [24, 25])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_sound_and_pictures_stay_within_a_frame(tmp_path, fps, rate_hz):
    flashes = [5, 30, 61, 99]
    seconds = 4.5
    wav = write_wav(
        tmp_path / "a.wav", clicks(seconds, [n / fps for n in flashes], rate_hz), rate_hz
    )
    count = frames_from_samples(round(seconds * rate_hz), rate_hz, fps)
    frames = np.full((count, 32, 64, 3), 20, np.uint8)
    frames[flashes] = 235
    segments = [
        write_segment(tmp_path / f"{n}.mp4", part, fps)
        for n, part in enumerate(np.split(frames, [33, 57, 58]))
    ]
    write_sound_track([load_voice(wav)], "sequence", tmp_path / "s.flac", count, fps)
    join_segments(
        segments, tmp_path / "s.flac", tmp_path / "o.mp4", frames=count, fps=fps, recipe="{}"
    )
    bright = [n for n, frame in enumerate(read_frames(tmp_path / "o.mp4")) if frame.mean() > 128]
    heard = load_voice(tmp_path / "o.mp4")
    assert bright == flashes
    # A fifth of a frame; the encoder's 1024 samples of priming would be 3 frames at 8 kHz.
    np.testing.assert_allclose(
        click_times(heard.speech, 16_000), np.array(flashes) / fps, atol=0.2 / fps
    )
    info = probe_video(tmp_path / "o.mp4")
    assert info.audio_duration_s == pytest.approx(info.duration_s, abs=1 / rate_hz)


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_sound_of_another_length_is_made_to_fit(tmp_path, seconds):
    soundfile.write(tmp_path / "s.flac", speech_like(seconds, 48_000), 48_000, format="FLAC")
    info = probe_video(joined(tmp_path, sound=tmp_path / "s.flac"))
    assert info.audio_duration_s == info.duration_s == 1.25


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_any_number_of_channels_gets_in(tmp_path, channels):
    wav = write_wav(tmp_path / "a.wav", speech_like(1.25, 48_000, channels=channels), 48_000)
    write_sound_track([load_voice(wav)], "sequence", tmp_path / "s.flac", 30, 24)
    target = joined(tmp_path, sound=tmp_path / "s.flac")
    assert load_voice(target).channels == channels


def test_an_existing_video_is_kept_without_overwrite(tmp_path):
    target = joined(tmp_path)
    before = sha256(target)
    with pytest.raises(FileError) as caught:
        joined(tmp_path, recipe='{"seed": 1}')
    assert (caught.value.code, sha256(target)) == ("E_OUTPUT_EXISTS", before)
    assert read_recipe(joined(tmp_path, recipe='{"seed": 1}', overwrite=True))["seed"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "s.mp4"]


def test_where_there_are_no_links_a_video_is_kept_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(files.os, "link", no_links)
    target = joined(tmp_path)
    with pytest.raises(FileError) as caught:
        joined(tmp_path)
    assert caught.value.code == "E_OUTPUT_EXISTS"
    assert target.exists()


def test_names_are_only_names(tmp_path):
    folder = tmp_path / "it's a \n folder % -x"
    folder.mkdir()
    assert probe_video(joined(folder)).frames == 30


def test_segments_must_hold_the_frames(tmp_path):
    segment = write_segment(tmp_path / "s.mp4", numbered(5))
    with pytest.raises(ValueError, match="5 frames, not 6"):
        join_segments([segment], None, tmp_path / "o.mp4", frames=6, fps=24, recipe="{}")


def test_a_segment_without_its_frames_is_no_segment(tmp_path, monkeypatch):
    """Some versions of ffmpeg end well on a full disk."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\ncat > /dev/null\n")
    program.chmod(0o755)
    monkeypatch.setenv(ffmpeg.VARIABLE, str(program))
    with pytest.raises(ffmpeg.FfmpegError, match=r"wrote no usable video: .* is empty"):
        write_segment(tmp_path / "s.mp4", numbered(5))
    assert list(tmp_path.iterdir()) == [program]


@pytest.mark.parametrize("shape", [(31, 64, 3), (32, 64), (32, 64, 4), (1, 1, 32, 64, 3)])
def test_frames_of_another_shape_are_a_bug(tmp_path, shape):
    with (
        pytest.raises(ValueError, match="frames are"),
        VideoWriter(tmp_path / "s.mp4", width=64, height=32, fps=24) as writer,
    ):
        writer.write(np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_odd_sides_and_no_frames_are_a_bug(tmp_path):
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "s.mp4", width=63, height=32, fps=24)
    with (
        pytest.raises(ValueError, match="at least one frame"),
        VideoWriter(tmp_path / "s.mp4", width=64, height=32, fps=24),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_segment_leaves_nothing(tmp_path, interruption):
    with (
        pytest.raises(interruption),
        VideoWriter(tmp_path / "s.mp4", width=64, height=32, fps=24) as writer,
    ):
        writer.write(numbered(20))
        raise interruption
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_a_process_leaves_nothing(tmp_path):
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from multitalk_cli.media.video.video import VideoWriter\n"
        "with VideoWriter(Path(sys.argv[1]), width=64, height=32, fps=24) as writer:\n"
        "    writer.write(np.zeros((1, 32, 64, 3), np.uint8))\n"
        "    print('started', flush=True)\n"
        "    for _ in range(100_000):\n"
        "        writer.write(np.zeros((1, 32, 64, 3), np.uint8))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=HANG_S)
    assert process.returncode == -signal.SIGINT
    assert not list(tmp_path.iterdir())


def test_an_interruption_while_joining_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(arguments, **options):
        ran(arguments, **options)
        raise KeyboardInterrupt

    ran = ffmpeg.run
    monkeypatch.setattr(ffmpeg, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        joined(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["s.mp4"]


@pytest.mark.parametrize("place", ["missing/s.mp4", "file/s.mp4"])
def test_a_place_that_cannot_be_written(tmp_path, place):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FileError) as caught,
        VideoWriter(tmp_path / place, width=64, height=32, fps=24),
    ):
        pass
    assert caught.value.code == "E_OUTPUT_PATH"


@pytest.fixture
def small_files():
    """No file may grow beyond 20 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _noise(count):
    return np.random.default_rng(0).integers(0, 255, (count, 128, 128, 3)).astype(np.uint8)


@pytest.mark.usefixtures("small_files")
def test_a_limit_while_writing_a_segment_leaves_nothing(tmp_path):
    with pytest.raises(FileError) as caught:
        write_segment(tmp_path / "s.mp4", _noise(100))
    assert (caught.value.code, caught.value.hint) == ("E_OUTPUT_PATH", "ulimit -f unlimited")
    assert not list(tmp_path.iterdir())


def test_a_limit_while_joining_leaves_nothing(tmp_path, request):
    segment = write_segment(tmp_path / "s.mp4", _noise(20))
    request.getfixturevalue("small_files")
    with pytest.raises(FileError) as caught:
        join_segments([segment], None, tmp_path / "o.mp4", frames=20, fps=24, recipe="{}")
    assert (caught.value.code, caught.value.hint) == ("E_OUTPUT_PATH", "ulimit -f unlimited")
    assert [path.name for path in tmp_path.iterdir()] == ["s.mp4"]


def test_a_limit_while_writing_the_sound_leaves_nothing(tmp_path, request):
    voice = load_voice(write_wav(tmp_path / "a.wav", speech_like(4, 48_000), 48_000))
    request.getfixturevalue("small_files")
    with pytest.raises(FileError) as caught:
        write_sound_track([voice], "sequence", tmp_path / "s.flac", 96, 24)
    assert (caught.value.code, caught.value.hint) == ("E_OUTPUT_PATH", "ulimit -f unlimited")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 200 kB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if (
        mount is None
        or subprocess.run([mount, *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(tmp_path, tiny_disk):
    with pytest.raises(FileError) as caught:
        write_segment(tiny_disk / "s.mp4", _noise(200))
    assert caught.value.code == "E_DISK_FULL"
    segment = write_segment(tmp_path / "s.mp4", _noise(60))
    with pytest.raises(FileError) as caught:
        join_segments([segment], None, tiny_disk / "o.mp4", frames=60, fps=24, recipe="{}")
    assert caught.value.code == "E_DISK_FULL"
    assert not list(tiny_disk.iterdir())


REAL_VOICES = [
    lambda folder: real_voice(folder),
    lambda folder: real_voice(folder, 44_100, channels=2),
    *(lambda _, path=path: path for path in extra_inputs("single_1.wav")),
]


@pytest.mark.parametrize("make", REAL_VOICES)
def test_a_voice_of_a_real_kind_makes_a_video_as_long_as_itself(make, tmp_path):
    voice = load_voice(make(tmp_path))
    frames = frames_from_samples(voice.samples, voice.rate_hz, 24)
    write_sound_track([voice], "sequence", tmp_path / "s.flac", frames, 24)
    info = probe_video(joined(tmp_path, count=frames, sound=tmp_path / "s.flac"))
    assert 0 <= info.duration_s - voice.duration_s < 1 / 24
    assert soundfile.info(tmp_path / "s.flac").channels == voice.channels == info.audio_channels


def test_nothing_of_the_machine_is_in_the_file(tmp_path):
    data = joined(tmp_path).read_bytes()
    for secret in (str(tmp_path), f"{Path.home()}/", f"{os.uname().nodename}.", "Lavf"):
        assert secret.encode() not in data


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is PNG, not MP4"), (b"a,b,c\n1,2,3\n" * 9, "is not MP4")],
)
def test_what_is_no_mp4_is_named_and_not_read_as_boxes(tmp_path, content, said):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)

    with pytest.raises(FileError) as caught:
        probe_video(path)

    assert (caught.value.code, said in str(caught.value)) == ("E_VIDEO_BROKEN", True)
