"""The runner of ffmpeg: it ends with its block, opens nothing unasked, and fails with a code."""

import subprocess
import sys
from pathlib import Path

import pytest

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import SetupError
from multitalk_cli.media.video import ffmpeg
from tests.media.audio.sounds import speech_like, write_wav

ENDLESS = ["-f", "lavfi", "-i", "sine", "-f", "s16le", "pipe:1"]


def _has_ended(process: ffmpeg.Running) -> bool:
    return process._process.returncode is not None


def test_gives_the_output_and_an_empty_log():
    with ffmpeg.running(
        ["-f", "lavfi", "-i", "sine=duration=1", "-f", "s16le", "pipe:1"], reads=True
    ) as process:
        samples = process.read(1 << 20)
        log = process.finish()
    assert (len(samples), log) == (2 * 44_100, "")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_is_dead_and_reaped_after_any_exception(interruption):
    with pytest.raises(interruption), ffmpeg.running(ENDLESS, reads=True) as process:
        process.read(1000)
        raise interruption
    assert _has_ended(process)
    assert not process._listener.is_alive()


def test_a_failure_names_the_last_line(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"no sound at all")
    with pytest.raises(ffmpeg.FfmpegError) as caught:
        ffmpeg.run([*ffmpeg.read_from(tmp_path / "x.wav", "wav"), "-f", "null", "-"])
    assert caught.value.code == "E_FFMPEG"
    assert caught.value.last_line in caught.value.message
    assert "\n" not in caught.value.message


def test_a_consumer_that_ends_early_is_a_failure_and_no_broken_pipe(tmp_path):
    target = tmp_path / "missing" / "x.wav"
    arguments = ["-f", "s16le", "-i", "pipe:0", "-f", "wav", f"file:{target}"]
    with (
        pytest.raises(ffmpeg.FfmpegError, match="No such file"),
        ffmpeg.running(arguments, feeds=True) as process,
    ):
        for _ in range(100):
            process.write(b"\0" * 65_536)
        process.finish()


def test_the_log_is_bounded_and_printable():
    noisy = ["-v", "debug", "-f", "lavfi", "-i", "sine=duration=1", "-f", "null", "-"]
    log = ffmpeg.run(noisy)
    assert 0 < len(log) <= 8192
    assert log.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["-x.wav", "concat:a|b.wav", "a b\n'c'.wav", "pipe:0", "%d.wav"])
def test_odd_names_are_only_names(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_wav(Path(name), speech_like(0.3))
    ffmpeg.run([*ffmpeg.read_from(Path(name), "wav"), "-f", "null", "-"])


def test_a_playlist_cannot_pass_for_a_film(tmp_path):
    write_wav(tmp_path / "secret.wav", speech_like(0.3))
    playlist = tmp_path / "x.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n")
    with pytest.raises(ffmpeg.FfmpegError):
        ffmpeg.run([*ffmpeg.read_from(playlist, "mov"), "-f", "null", "-"])


def test_other_protocols_are_refused(tmp_path):
    playlist = tmp_path / "x.ffconcat"
    playlist.write_text("ffconcat version 1.0\nfile 'http://127.0.0.1:9/x.wav'\n")
    arguments = ffmpeg.read_from(playlist, "concat", options=["-safe", "0"])
    with pytest.raises(ffmpeg.FfmpegError) as caught:
        ffmpeg.run([*arguments, "-f", "null", "-"])
    assert "whitelist" in caught.value.log


def test_does_not_read_our_standard_input():
    script = (
        "import sys\n"
        "from multitalk_cli.media.video import ffmpeg\n"
        "ffmpeg.run(['-f', 'lavfi', '-i', 'sine=duration=1', '-f', 'null', '-'])\n"
        "print(sys.stdin.read())"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script], input="kept", capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "kept"


def test_a_machine_without_ffmpeg_is_a_set_up_error(monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("none found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(SetupError) as caught:
        ffmpeg.executable()
    assert caught.value.code == "E_NO_FFMPEG"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("/no such/ffmpeg", "cannot be started: No such file or directory"),
        ("/tmp", "cannot be started: Permission denied"),
        (__file__, "cannot be started: Permission denied"),
        ("/bin/true", "is not ffmpeg"),
    ],
)
def test_a_variable_that_names_no_ffmpeg_is_named(monkeypatch, program, problem):
    monkeypatch.setenv(ffmpeg.VARIABLE, program)

    with pytest.raises(SetupError) as caught:
        ffmpeg.run(["-i", "pipe:0"], fed=bytes(1 << 20))

    assert caught.value.code == "E_NO_FFMPEG"
    assert caught.value.message == f"IMAGEIO_FFMPEG_EXE names {program!r}, which {problem}"
    assert next_command(caught.value, ["generate"]) == "unset IMAGEIO_FFMPEG_EXE"


def test_a_full_disk_has_its_own_code():
    arguments = ["-f", "lavfi", "-i", "sine=duration=9", "-f", "wav", "-y", "file:/dev/full"]
    with pytest.raises(ffmpeg.FfmpegError) as caught:
        ffmpeg.run(arguments)
    assert caught.value.code == "E_DISK_FULL"
