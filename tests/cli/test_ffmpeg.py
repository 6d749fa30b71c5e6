"""`multitalk ffmpeg`: the commands that warnings and errors name work as they are printed."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.media.audio.odd_sounds import RATE_HZ, voice, wav

PLAN = ("--plan", "--size", "192x96")


def lines_with(command, ran):
    """The printed commands that begin with these words, as words after `multitalk`."""
    lines = [line.strip().removeprefix("next:").strip() for line in ran.stderr.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(command)]


def two_speakers():
    """A recording with a speaker on each channel, in turn."""
    spoken = np.resize(voice(), 12 * RATE_HZ)
    talk = np.zeros((len(spoken), 2), dtype=np.int16)
    for turn, start in enumerate(range(0, len(spoken), 3 * RATE_HZ)):
        talk[start : start + 3 * RATE_HZ, turn % 2] = spoken[start : start + 3 * RATE_HZ]
    return talk


def test_the_command_of_a_warning_splits_two_speakers(cli, portrait):
    talk = two_speakers()
    Path("our talk.wav").write_bytes(wav(talk))

    (words,) = lines_with("multitalk ffmpeg", cli("generate", portrait, "our talk.wav", *PLAN))
    ran = cli(*words)

    assert (ran.code, ran.stdout) == (0, "")
    for channel, name in enumerate(("first.wav", "second.wav")):
        samples, rate_hz = soundfile.read(name, dtype="int16")
        assert rate_hz == RATE_HZ
        np.testing.assert_array_equal(samples, talk[:, channel])


def test_the_command_of_a_warning_makes_a_quiet_voice_louder(cli, portrait):
    Path("a.wav").write_bytes(wav((voice() / 64).astype(np.int16)))

    (words,) = lines_with("multitalk ffmpeg", cli("generate", portrait, "a.wav", *PLAN))

    assert cli(*words).code == 0
    assert lines_with("multitalk ffmpeg", cli("generate", portrait, "louder.wav", *PLAN)) == []


def test_the_command_of_an_error_gives_samples_a_header(cli, portrait):
    Path("a.pcm").write_bytes(voice().tobytes())

    (words,) = lines_with("multitalk ffmpeg", cli("generate", portrait, "a.pcm", *PLAN))

    assert cli(*words).code == 0
    np.testing.assert_array_equal(soundfile.read("a.pcm.wav", dtype="int16")[0], voice())


@pytest.mark.usefixtures("voice")
def test_a_program_gets_one_object_whatever_ffmpeg_prints(cli):
    ran = cli("--json", "ffmpeg", "-i", "voice.wav", "-f", "s16le", "-")

    assert ran.code == 0
    assert ran.json["status"] == "ok"


def test_a_failure_is_an_error_of_ours(cli):
    ran = cli("ffmpeg", "-q", "-i", "missing.wav", "a.wav")

    assert ran.code == 3
    assert "(E_FFMPEG, exit 3;" in ran.stderr
    assert not Path("a.wav").exists()


def test_its_own_help_is_ours(cli):
    assert "Usage: multitalk ffmpeg" in cli("ffmpeg", "--help").stdout
