"""Bad input, case by case: the right words and exit code, and nothing left behind."""

import base64
import os
import shlex
import shutil
import struct
import subprocess
import wave
import zlib
from pathlib import Path

import imageio_ffmpeg
import pytest

pytestmark = pytest.mark.slow

PREVIEW = ("--backend", "preview", "--size", "192x96")

HEADER = b"\x89PNG\r\n\x1a\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
PLAYLIST = b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n"


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, rows=b"", color=2):
    """A PNG of this size, whatever its rows hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    body = zlib.compress(rows, 9)
    return HEADER + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def grey(width, height):
    """A PNG of one tone."""
    return png(width, height, (b"\0" + b"\x80" * width) * height, color=0)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*")}


@pytest.fixture
def refused(cli, folder, tmp_path, monkeypatch):
    """Runs a command line that must be refused: gives what it said, having checked the rest."""

    def call(*arguments, code, exit_code=3):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        before = files(folder)
        ran = cli("generate", *arguments)

        assert (ran.code, ran.stdout) == (exit_code, ""), ran.stderr
        assert "Traceback" not in ran.stderr
        assert ran.stderr.startswith("error: ")
        assert f"({code}, exit {exit_code};" in ran.stderr
        assert files(folder) == before, "something was left behind"
        assert list(scratch.iterdir()) == []
        return ran.stderr

    return call


@pytest.fixture(autouse=True)
def inputs(portrait, voice):
    """A portrait and a voice that are as they should be."""
    return portrait.name, voice.name


# Sounds that need another command first


def test_text_and_samples_alone_print_the_command_that_makes_a_sound_of_them(refused, voice):
    data = voice.read_bytes()
    Path("my voice.txt").write_bytes(base64.b64encode(data))
    Path("a.pcm").write_bytes(data[44:])

    said = refused("host.png", "my voice.txt", *PREVIEW, code="E_AUDIO_FORMAT")
    assert "base64 -d 'my voice.txt' > 'my voice.txt.wav'" in said
    Path("page").write_bytes(b"data:audio/webm;codecs=opus;base64,GkXfo59ChoEB")
    said = refused("host.png", "page", *PREVIEW, code="E_AUDIO_FORMAT")
    assert "cut -d, -f2 page | base64 -d > page.wav" in said
    said = refused("host.png", "a.pcm", *PREVIEW, code="E_AUDIO_FORMAT")
    assert "ffmpeg -f s16le -ar 24000 -ac 1 -i a.pcm a.pcm.wav" in said


def test_a_track_that_is_not_there_prints_the_command_with_the_last_one(refused, voice):
    join_tracks(voice, "two.mkv")

    words = ("host.png", "two.mkv", *PREVIEW, "--audio-track", "3")
    said = refused(*words, code="E_RANGE", exit_code=2)

    assert "--audio-track 3: two.mkv has 2 sound tracks" in said
    (line,) = (line for line in said.splitlines() if "next:" in line)
    assert line.endswith("--size 192x96 --audio-track 2")


def join_tracks(voice, target):
    words = ["-i", str(voice), "-i", str(voice), "-map", "0", "-map", "1", target]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *words], check=True)


# Arguments in the wrong place


def test_picture_and_voice_swapped_print_the_corrected_command(refused):
    said = refused("voice.wav", "host.png", *PREVIEW, code="E_SWAPPED", exit_code=2)

    assert "next:  multitalk generate host.png voice.wav" in said


def test_the_corrected_command_is_quoted_for_a_shell(refused, portrait, voice, cli):
    portrait.rename("my host.png")
    voice.rename("it's me.wav")

    said = refused("it's me.wav", "my host.png", *PREVIEW, code="E_SWAPPED", exit_code=2)

    (line,) = (line for line in said.splitlines() if "next:" in line)
    words = shlex.split(line.partition("next:")[2])
    assert words[:4] == ["multitalk", "generate", "my host.png", "it's me.wav"]
    assert cli(*words[1:], "--plan").code == 0


def test_a_picture_among_two_voices_is_recognised(refused, speech):
    speech("other.wav", 1.0)

    said = refused("voice.wav", "other.wav", "host.png", *PREVIEW, code="E_SWAPPED", exit_code=2)

    assert "multitalk generate host.png voice.wav other.wav" in said


def test_a_pattern_that_became_twelve_voices_points_to_the_loop(refused, portrait, voice):
    names = [shutil.copy(voice, f"take{number}.wav") for number in range(12)]

    said = refused(portrait.name, *names, *PREVIEW, code="E_TOO_MANY_VOICES", exit_code=2)

    assert "12 voices" in said
    assert 'for f in *.wav; do multitalk generate host.png "$f"; done' in said


def test_a_pattern_in_the_picture_s_place_too_points_to_the_loop(refused, voice):
    names = [shutil.copy(voice, f"take{number}.wav") for number in range(12)]

    assert "12 voices" in refused(
        "host.png", *names, *PREVIEW, code="E_TOO_MANY_VOICES", exit_code=2
    )


@pytest.mark.parametrize(
    "address",
    ["https://example.com/a.png", "http://example.com/a.wav", "gs://bucket/key.wav", "file:///a"],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_web_address_is_no_file(refused, inputs, address, place):
    words = [*inputs]
    words[place] = address

    assert "web address" in refused(*words, *PREVIEW, code="E_URL", exit_code=2)


@pytest.mark.parametrize("place", [0, 1])
def test_an_object_needs_the_cloud(refused, inputs, place):
    words = [*inputs]
    words[place] = "s3://bucket/a key.wav"

    said = refused(*words, *PREVIEW, code="E_CONFLICT", exit_code=2)

    assert "multitalk s3 get 's3://bucket/a key.wav'" in said


def test_the_same_file_twice_is_one_voice(refused):
    for other in ("voice.wav", "./voice.wav"):
        refused("host.png", "voice.wav", other, *PREVIEW, code="E_SAME_VOICE", exit_code=2)


def test_a_copy_is_the_same_voice(refused, voice):
    shutil.copy(voice, "copy.wav")
    Path("link.wav").symlink_to("voice.wav")

    for other in ("copy.wav", "link.wav"):
        refused("host.png", "voice.wav", other, *PREVIEW, code="E_SAME_VOICE", exit_code=2)


def test_one_voice_for_two_places_is_refused(refused):
    refused(
        "host.png", "--speaker", "left=voice.wav", "--speaker", "right=voice.wav", *PREVIEW,
        code="E_SAME_VOICE", exit_code=2,
    )  # fmt: skip


def test_a_voice_is_needed(refused):
    said = refused("host.png", *PREVIEW, code="E_USAGE", exit_code=2)

    assert "multitalk generate host.png VOICE.wav" in said


def test_positions_and_speakers_do_not_mix(refused, inputs):
    refused(*inputs, "--speaker", "left=voice.wav", *PREVIEW, code="E_CONFLICT", exit_code=2)


@pytest.mark.parametrize(
    "speaker",
    [
        "", "=", "left=", "=voice.wav", "left", "lft=voice.wav", "face:0=voice.wav",
        "face:9=voice.wav", "face:x=voice.wav", "box:0%,0%,0%,100%=voice.wav", "box:=voice.wav",
        "box:0%,0%,nan%,9%=voice.wav", "box:90%,0%,10%,100%=voice.wav", "box:1,2,3=voice.wav",
        "box:0%,0%,900%,100%=voice.wav",
    ],
)  # fmt: skip
def test_a_speaker_that_makes_no_sense_is_refused(refused, speaker):
    refused("host.png", f"--speaker={speaker}", *PREVIEW, code="E_SPEAKER", exit_code=2)


# Files that are not what they should be


def test_a_missing_picture_and_a_missing_voice_are_named(refused):
    assert "gone.png" in refused("gone.png", "voice.wav", *PREVIEW, code="E_FILE_MISSING")
    assert "gone.wav" in refused("host.png", "gone.wav", *PREVIEW, code="E_FILE_MISSING")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo], ids=["dir", "empty", "pipe"])
def test_a_directory_an_empty_file_and_a_pipe_are_no_inputs(refused, inputs, place, make):
    make(Path("odd"))
    words = [*inputs]
    words[place] = "odd"

    refused(*words, *PREVIEW, code="E_FILE_UNREADABLE")


@pytest.mark.parametrize("place", [0, 1])
def test_a_device_is_no_input(refused, inputs, place):
    words = [*inputs]
    words[place] = "/dev/zero"

    refused(*words, *PREVIEW, code="E_FILE_UNREADABLE")


@pytest.mark.skipif(
    os.geteuid() == 0, reason="needs a user without root's right to read everything"
)
def test_a_file_that_may_not_be_read_is_named(refused, inputs):
    Path("voice.wav").chmod(0)

    assert "may not read" in refused(*inputs, *PREVIEW, code="E_FILE_UNREADABLE")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (SVG, "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"BM" + bytes(60), "BMP"),
        (b"hello\n", "not a picture"),
        (b"\0" * 5000, "not a picture"),
        (PLAYLIST, "not a picture"),
    ],
)
def test_a_picture_in_a_format_of_no_use_is_named(refused, content, word):
    Path("host.png").write_bytes(content)

    assert word in refused("host.png", "voice.wav", *PREVIEW, code="E_IMAGE_FORMAT")


@pytest.mark.parametrize("content", [SVG, b"%PDF-1.7\n", b"hello\n", HEADER, b"#!/bin/sh\n"])
def test_a_voice_in_a_format_of_no_use_is_named(refused, content):
    Path("voice.wav").write_bytes(content)

    assert "voice.wav" in refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_FORMAT")


def test_a_playlist_named_mp4_is_not_followed(refused):
    Path("voice.mp4").write_bytes(PLAYLIST)

    assert "playlist" in refused("host.png", "voice.mp4", *PREVIEW, code="E_AUDIO_FORMAT")


@pytest.mark.parametrize("content", [b"ffconcat version 1.0\nfile /etc/passwd\n", b"v=0\no=- 0\n"])
def test_other_lists_of_files_are_not_followed(refused, content):
    Path("voice.mp4").write_bytes(content)

    assert "passwd" not in refused("host.png", "voice.mp4", *PREVIEW, code="E_AUDIO_FORMAT")


def test_a_wrong_extension_does_not_matter(cli, portrait, voice):
    portrait.rename("host.wav")
    voice.rename("voice.png")

    assert cli("generate", "host.wav", "voice.png", "--plan").code == 0


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (63, 64), (50_000, 10), (10, 50_000), (900, 100)]
)
def test_a_picture_too_small_or_too_narrow_is_refused(refused, width, height):
    Path("host.png").write_bytes(grey(width, height))

    said = refused("host.png", "voice.wav", *PREVIEW, code="E_IMAGE_SIZE")

    assert f"{width}x{height}" in said


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(refused, width, height):
    Path("host.png").write_bytes(png(width, height, bytes(10**7)))

    refused("host.png", "voice.wav", *PREVIEW, code="E_IMAGE_SIZE")


def test_a_bomb_in_a_text_of_the_picture_is_harmless(cli, portrait):
    whole = portrait.read_bytes()
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    portrait.write_bytes(whole[:33] + bomb + whole[33:])

    ran = cli("generate", "host.png", "voice.wav", "--plan")

    assert ran.code in (0, 3)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_truncated_picture_is_refused(refused, portrait, share):
    whole = portrait.read_bytes()
    portrait.write_bytes(whole[: int(len(whole) * share)])

    refused("host.png", "voice.wav", *PREVIEW, code="E_IMAGE_BROKEN")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_voice_is_refused(refused, voice, share):
    whole = voice.read_bytes()
    voice.write_bytes(whole[: int(len(whole) * share)])

    assert "cut off" in refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_BROKEN")


def write_wav(samples, rate_hz=16_000):
    with wave.open("voice.wav", "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples)


def test_a_silent_voice_is_refused_with_its_level(refused):
    write_wav(struct.pack("<2h", 4, -4) * 16_000)

    said = refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_SILENT")

    assert "dBFS over 2.0 s" in said


@pytest.mark.parametrize("seconds", [0.1, 1801])
def test_a_voice_too_short_or_too_long_is_refused(refused, seconds):
    write_wav(struct.pack("<2h", 9000, -9000) * int(seconds * 1000), rate_hz=2000)

    assert " s; " in refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_LENGTH")


def test_a_header_that_claims_more_than_there_is_is_not_believed(refused, voice):
    whole = bytearray(voice.read_bytes())
    # A minute: too short for a length that stands for an unknown one.
    whole[4:8] = whole[40:44] = struct.pack("<I", 32_000 * 60)
    voice.write_bytes(whole)

    refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_BROKEN")


def test_samples_that_are_no_numbers_are_refused(refused):
    samples = struct.pack("<f", float("nan")) * 16_000
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    Path("voice.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)

    assert "NaN or infinite" in refused("host.png", "voice.wav", *PREVIEW, code="E_AUDIO_BROKEN")


def test_a_video_without_sound_is_refused(refused, shell):
    import imageio_ffmpeg

    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    shell(f'"{ffmpeg}" -v error -f lavfi -i color=s=64x64:d=1 mute.mp4')

    assert "has no sound" in refused("host.png", "mute.mp4", *PREVIEW, code="E_AUDIO_NONE")


# Names


@pytest.mark.parametrize(
    "name",
    ["a b.wav", "a\nb.wav", "a'\"$b.wav", "é😀.wav", "a%d.wav", "a:b.wav", "*.wav", "x.wav.wav"],
)
def test_strange_names_are_names(cli, voice, name):
    voice.rename(name)

    ran = cli("generate", "host.png", name, *PREVIEW, "--json")

    assert ran.code == 0, ran.stderr
    made = Path(ran.json["data"]["output"])
    assert made.name == f"{name[:-4]}.preview.mp4"
    assert made.is_file()


def test_a_name_that_is_no_text_is_a_name(cli, voice):
    name = os.fsdecode(b"caf\xe9.wav")
    voice.rename(name)

    ran = cli("generate", "host.png", name, *PREVIEW)

    assert ran.code == 0, ran.stderr
    assert ran.stdout.endswith("caf\udce9.preview.mp4\n")


def test_a_newline_in_a_name_cannot_fake_a_line(refused):
    said = refused("host.png", "gone\nerror: all is lost.wav", *PREVIEW, code="E_FILE_MISSING")

    assert sum(line.startswith("error:") for line in said.splitlines()) == 1


def test_a_leading_dash_is_explained_and_can_be_written_otherwise(refused, cli, voice):
    voice.rename("-voice.wav")

    said = refused("host.png", "-voice.wav", *PREVIEW, code="E_USAGE", exit_code=2)

    assert "./-voice.wav" in said
    assert cli("generate", "host.png", "./-voice.wav", "--plan").code == 0
    assert cli("generate", "--plan", "--", "host.png", "-voice.wav").code == 0


# Values


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--fps", "0"),
        ("--fps", "61"),
        ("--fps", "-24"),
        ("--fps", "nan"),
        ("--fps", "24.5"),
        ("--steps", "9"),
        ("--sample-steps", "51"),
        ("--seed", "-1"),
        ("--seed", str(2**63)),
        ("--seed", "1e3"),
        ("--text-guidance", "nan"),
        ("--text-guidance", "inf"),
        ("--audio-guidance", "-1"),
        ("--shift", "0"),
        ("--max-cost", "-1"),
        ("--max-cost", "inf"),
        ("--size", "0x0"),
        ("--size", "900x450"),
        ("--size", "99999999x99999999"),
        ("--size", "big"),
        ("--fit", "crop"),
        ("--order", "both"),
        ("--backend", "gpu"),
        ("--background", "nocolour"),
    ],
)
def test_a_value_outside_its_range_is_refused_with_the_range(refused, inputs, option, value):
    said = refused(*inputs, *PREVIEW, f"{option}={value}", code="E_RANGE", exit_code=2)

    assert value in said


def test_the_refusal_of_steps_names_the_range(refused, inputs):
    for steps in ("9", "51"):
        said = refused(*inputs, "--steps", steps, *PREVIEW, code="E_RANGE", exit_code=2)
        assert "from 10 to 50" in said


def test_seed_zero_is_a_seed(cli, inputs):
    ran = cli("generate", *inputs, "--seed", "0", *PREVIEW, "--json")

    assert ran.json["data"]["seed"] == 0
    assert "seed 0" in ran.stderr


def test_a_prompt_that_is_no_text_is_refused(refused, inputs):
    refused(*inputs, "-p", os.fsdecode(b"caf\xe9"), *PREVIEW, code="E_USAGE", exit_code=2)


@pytest.mark.parametrize("text", ["fsp = 24", "fps = ", "fps = 24.5", "[fps]"])
def test_a_broken_settings_file_stops_everything(refused, inputs, text):
    Path("multitalk.toml").write_text(text)

    assert "multitalk.toml" in refused(*inputs, *PREVIEW, code="E_CONFIG")


# Outputs


def test_a_missing_folder_is_named_with_the_command_that_makes_it(refused, inputs):
    said = refused(*inputs, "-o", "gone/", *PREVIEW, code="E_OUTPUT_PATH")

    assert "mkdir -p gone" in said


@pytest.mark.parametrize("asked", ["voice.preview.mp4", "./voice.preview.mp4", "link.preview.mp4"])
def test_an_input_is_never_overwritten(refused, voice, asked):
    voice.rename("voice.preview.mp4")
    Path("link.preview.mp4").symlink_to("voice.preview.mp4")

    said = refused(
        "host.png", "voice.preview.mp4", "-o", asked, "--force", *PREVIEW, code="E_OUTPUT_PATH"
    )

    assert "one of the inputs" in said


@pytest.mark.parametrize(
    ("asked", "proposed"), [("talk.mp4", "talk.preview.mp4"), ("talk.mov", "talk.preview.mp4")]
)
def test_a_preview_is_never_called_a_video(refused, inputs, asked, proposed):
    said = refused(*inputs, "-o", asked, *PREVIEW, code="E_OUTPUT_NAME", exit_code=2)

    assert f"-o {proposed}" in said


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_place_that_takes_no_files_is_refused(refused, inputs):
    refused(*inputs, "-o", "/proc/", *PREVIEW, code="E_OUTPUT_PATH")


@pytest.mark.skipif(
    os.geteuid() == 0, reason="needs a user without root's right to write everywhere"
)
def test_a_read_only_folder_is_refused(refused, inputs):
    Path("locked").mkdir(mode=0o500)

    refused(*inputs, "-o", "locked/", *PREVIEW, code="E_OUTPUT_PATH")


def test_a_foreign_file_is_not_overwritten(refused, inputs):
    Path("voice.preview.mp4").write_bytes(b"mine")

    said = refused(*inputs, *PREVIEW, code="E_OUTPUT_EXISTS")

    assert "--force" in said
    assert Path("voice.preview.mp4").read_bytes() == b"mine"


def test_unusable_inputs_are_named_before_a_missing_account(refused, inputs):
    image, voice = inputs

    refused("absent.png", voice, code="E_FILE_MISSING", exit_code=3)
    refused(voice, image, code="E_SWAPPED", exit_code=2)


def test_a_script_gets_no_preview_unasked(refused, inputs):
    assert "--backend preview" in refused(*inputs, code="E_NO_BACKEND", exit_code=4)


# Streams and processes


def test_a_refusal_on_a_closed_stdin_is_the_same(shell):
    ran = shell("multitalk generate host.png gone.wav --backend preview <&-")

    assert (ran.code, ran.stdout) == (3, "")
    assert "gone.wav does not exist" in ran.stderr


def test_a_reader_that_leaves_does_not_stop_the_video(shell, folder):
    ran = shell("multitalk generate host.png voice.wav --backend preview -q | true")

    assert (ran.code, ran.stderr) == (0, "")
    assert (folder / "voice.preview.mp4").is_file()


def test_closed_streams_do_not_stop_the_video(shell, folder):
    ran = shell("multitalk generate host.png voice.wav --backend preview <&- >&- 2>&-")

    assert ran.code == 0
    assert (folder / "voice.preview.mp4").is_file()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["deploy", "--app", "--dry-run"], "--app"),
        (["deploy", "--app=--dry-run"], "--app"),
        (["deploy", "--environment", "-x"], "--environment"),
        (["status", "--app", "--environment=main"], "--app"),
        (["generate", "host.png", "voice.wav", "-o", "--force"], "-o"),
        (["generate", "host.png", "voice.wav", "--prompt", "--plan"], "--prompt"),
    ],
)
def test_an_option_is_never_the_value_of_another(cli, words, option):
    ran = cli(*words, "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_USAGE")
    assert ran.error["message"].startswith(f"{option} ")


def test_a_deleted_folder_is_an_error_of_the_user(shell):
    ran = shell("mkdir gone && cd gone && rmdir ../gone && multitalk config path --json")

    assert (ran.code, ran.error["code"]) == (3, "E_FILE_MISSING")
    assert ran.error["message"] == "the current folder was deleted"
