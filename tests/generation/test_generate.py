"""`multitalk generate` and `multitalk demo`: from files to a video and its report."""

import json
import re
import shlex
import shutil
import struct
import subprocess
import wave
from pathlib import Path

import pexpect
import pytest

from multitalk_cli.media.video.recipe import read_recipe

pytestmark = pytest.mark.slow

PREVIEW = ("--backend", "preview")
# As quick as drawing gets, where the frame does not matter.
SMALL = (*PREVIEW, "--size", "192x96")
FIELDS = {
    "output", "backend", "model_output", "frames", "fps", "seconds", "seed", "price_usd",
    "adjusted", "already_made",
}  # fmt: skip


@pytest.fixture(autouse=True)
def inputs(portrait, voice):
    """A portrait and a voice of three seconds."""
    return portrait, voice


@pytest.fixture
def duo(folder):
    """A picture of two people, `duo.png`: the portrait beside itself."""
    from PIL import Image

    with Image.open("host.png") as one:
        face = one.convert("RGB").crop((256, 0, 768, 528))
    both = Image.new("RGB", (1024, 528))
    both.paste(face, (0, 0))
    both.paste(face, (512, 0))
    both.save(folder / "duo.png")
    return folder / "duo.png"


def seconds_of(path):
    """Length of the video and of its sound, as ffmpeg decodes them."""
    import imageio_ffmpeg

    ran = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    frames = int(re.findall(r"frame= *(\d+)", ran.stderr)[-1])
    found = re.search(r"Duration: 00:00:(\d+\.\d+)", ran.stderr)
    return frames, float(found.group(1))


# A preview


def test_one_voice_becomes_a_preview_whose_path_is_printed(cli, folder):
    ran = cli("generate", "host.png", "voice.wav", *PREVIEW)

    assert ran.code == 0
    assert ran.stdout == f"{folder}/voice.preview.mp4\n"
    frames, length_s = seconds_of("voice.preview.mp4")
    assert frames == 75
    assert abs(length_s - 3.1) <= 1 / 24 + 0.011


def test_what_was_seen_is_told_a_fact_a_line(cli):
    lines = cli("generate", "host.png", "voice.wav", "--seed", "7", *SMALL).stderr.splitlines()

    assert lines[0].startswith("host.png    1024x528, 1 face")
    assert lines[1].startswith("voice.wav   3.1 s, 16 kHz mono")
    assert lines[2].startswith("plan        75 frames at 24 fps in 1 window")
    assert lines[2].endswith("seed 7")
    assert any(line.startswith("price       nothing") for line in lines)
    assert not any("loudness" in line for line in lines)  # the model does not receive it


def test_json_reports_the_result_and_that_no_model_made_it(cli, folder):
    ran = cli("generate", "host.png", "voice.wav", "--seed", "0", "--fps", "25", *SMALL, "--json")

    data = ran.json["data"]
    assert data.keys() >= FIELDS
    assert (data["output"], data["backend"]) == (f"{folder}/voice.preview.mp4", "preview")
    assert (data["model_output"], data["seed"], data["fps"]) == (False, 0, 25)
    assert data["seconds"] == data["frames"] / 25
    assert data["price_usd"] is None
    assert data["adjusted"] == [note for note in data["adjusted"] if "LUFS" not in note]


@pytest.mark.parametrize("word", ["--loudness", "--no-loudness"])
def test_loudness_says_once_that_it_has_no_effect(cli, portrait, voice, word):
    ran = cli("generate", portrait, voice, *SMALL, word)

    assert ran.code == 0, ran.stderr
    assert ran.stderr.count("change nothing") == 1
    again = cli("generate", portrait, voice, *SMALL, "--sound-level", -20)
    assert again.code == 3 and "another --sound-level" in again.stderr


def test_a_preview_says_that_it_is_not_judged(cli, portrait, voice):
    ran = cli("generate", portrait, voice, *SMALL, "--fail-under", 0.4)

    assert (ran.code, ran.stderr.count("a preview is not judged")) == (0, 1)


def test_silence_around_the_speech_is_reported_and_left_out_on_demand(cli, folder, voice):
    samples = voice.read_bytes()[44:]
    Path("long.wav").write_bytes(wav_of(bytes(32_000 * 60) + samples + bytes(32_000 * 5)))

    plan = cli("generate", "host.png", "long.wav", "--plan", "--json").json["data"]
    assert plan["plan"]["seconds"] > 68
    assert any("--trim-silence leaves them out" in each for each in plan["warnings"])
    assert any("of silence before and" in each for each in plan["warnings"])

    made = cli("generate", "host.png", "long.wav", "--trim-silence", *SMALL, "--json").json["data"]
    assert made["seconds"] < 4
    assert any("cut from long.wav" in each for each in made["adjusted"])
    assert read_recipe(Path(made["output"]))["trim_silence"] is True
    frames, length_s = seconds_of(made["output"])
    assert (frames, round(length_s, 2)) == (made["frames"], round(made["seconds"], 2))


def wav_of(samples):
    return (
        b"RIFF\0\0\0\0WAVEfmt "
        + struct.pack("<IHHIIHH4sI", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", len(samples))
        + samples
    )


@pytest.mark.parametrize(
    ("voices", "words", "said"),
    [
        (6, (), []),
        (7, (), ["may drift after 20 s; --audio-guidance 3 is advised"]),
        (7, ("--audio-guidance", "3"), ["may drift after 20 s"]),
        (14, (), ["Published reports", "500 frames", "--audio-guidance 3", "shorter videos"]),
    ],
)
def test_long_speech_is_warned_of(cli, voice, voices, words, said):
    Path("long.wav").write_bytes(wav_of(voice.read_bytes()[44:] * voices))

    planned = cli("generate", "host.png", "long.wav", *words, "--plan", "--json").json["data"]

    warnings = " ".join(each for each in planned.get("warnings", []) if "of speech:" in each)
    assert all(words in warnings for words in said)
    assert bool(warnings) is bool(said)
    assert ("--audio-guidance" in warnings) is (bool(said) and not words)


def test_recordings_in_one_file_are_reported_in_the_result(cli, voice):
    Path("two.wav").write_bytes(2 * voice.read_bytes())

    data = cli("generate", "host.png", "two.wav", *SMALL, "--json").json["data"]

    assert data["seconds"] == pytest.approx(6.2, abs=1 / 24)
    assert "two.wav holds 2 recordings one after the other: all are used" in data["adjusted"]


def test_quiet_prints_the_path_alone(cli, folder):
    ran = cli("generate", "host.png", "voice.wav", *SMALL, "--quiet")

    assert (ran.stdout, ran.stderr) == (f"{folder}/voice.preview.mp4\n", "")


def test_progress_events_are_json_lines_on_stderr(cli):
    ran = cli("generate", "host.png", "voice.wav", *SMALL, "-q", "--progress", "json")

    events = [json.loads(line) for line in ran.stderr.splitlines()]
    assert events
    assert events[-1]["event"] == "done"
    assert not {"contract", "client"} & events[0].keys()
    assert isinstance(events[-1]["result"]["recipe"], dict)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("talk.preview.mp4", "talk.preview.mp4"),
        ("out/", "out/voice.preview.mp4"),
        ("{image}-{seed}.preview.mp4", "host-7.preview.mp4"),
        ("take{n:02}.preview.mp4", "take01.preview.mp4"),
    ],
)
def test_the_output_goes_where_it_was_asked(cli, folder, asked, made):
    (folder / "out").mkdir()

    ran = cli("generate", "host.png", "voice.wav", "--seed", "7", "-o", asked, *SMALL)

    assert ran.stdout == f"{folder}/{made}\n"
    assert (folder / made).is_file()


def test_nothing_but_the_video_is_left(cli, folder):
    cli("generate", "host.png", "voice.wav", *SMALL)

    names = {path.name for path in folder.iterdir()}
    assert names == {"host.png", "voice.wav", "voice.preview.mp4"}


@pytest.mark.parametrize("seconds", [0.2, 0.21, 1.0, 3.4])
def test_short_voices_are_as_long_as_they_are(cli, speech, seconds):
    speech("short.wav", seconds)

    data = cli("generate", "host.png", "short.wav", *SMALL, "--json").json["data"]

    assert abs(data["seconds"] - seconds) <= 1 / 24
    assert seconds_of("short.preview.mp4")[0] == data["frames"]


@pytest.mark.parametrize("size", ["448x896", "640x640", "96x48"])
def test_the_size_is_the_size_of_the_framed_picture(cli, size, speech):
    speech("short.wav", 0.3)

    data = cli("generate", "host.png", "short.wav", "--size", size, *PREVIEW, "--json").json["data"]

    width, height = map(int, size.split("x"))
    assert data["width"] == width
    assert data["height"] >= height, "the strip lies outside the picture"


# Doing it again


def test_the_same_again_is_printed_and_not_made(cli, folder):
    cli("generate", "host.png", "voice.wav", *SMALL)
    made = (folder / "voice.preview.mp4").stat()

    ran = cli("generate", "host.png", "voice.wav", *SMALL, "--json")

    data = ran.json["data"]
    assert (ran.code, data["already_made"], data["price_usd"]) == (0, True, 0.0)
    assert data["output"] == f"{folder}/voice.preview.mp4"
    now = (folder / "voice.preview.mp4").stat()
    assert (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--seed", "8"], "seed"),
        (["--fps", "25"], "fps"),
        (["-p", "Somebody sings"], "prompt"),
        (["--fit", "contain"], "fit"),
        (["--sample-steps", "30"], "--steps"),
    ],
)
def test_something_else_under_the_name_is_refused_naming_what_differs(cli, more, what):
    cli("generate", "host.png", "voice.wav", "--seed", "7", *SMALL)

    ran = cli("generate", "host.png", "voice.wav", "--seed", "7", *SMALL, *more)

    assert (ran.code, ran.stdout) == (3, "")
    assert "voice.preview.mp4" in ran.stderr
    assert what in ran.stderr
    assert "--force" in ran.stderr


def test_other_inputs_under_the_name_are_refused(cli, speech):
    cli("generate", "host.png", "voice.wav", *SMALL)
    speech("voice.wav", 1.0)

    assert cli("generate", "host.png", "voice.wav", *SMALL).code == 3


def test_force_makes_it_again(cli):
    cli("generate", "host.png", "voice.wav", "--seed", "7", *SMALL)

    ran = cli("generate", "host.png", "voice.wav", "--seed", "8", *SMALL, "--force", "--json")

    assert (ran.json["data"]["seed"], ran.json["data"]["already_made"]) == (8, False)
    assert read_recipe(Path("voice.preview.mp4"))["seed"] == 8


# The file's own metadata


def test_the_recipe_holds_no_names_and_no_prompt(cli, folder):
    cli("generate", "host.png", "voice.wav", "-p", "A secret plan", *SMALL)

    recipe = read_recipe(folder / "voice.preview.mp4")
    content = (folder / "voice.preview.mp4").read_bytes()
    assert recipe["ai_generated"] is True
    assert recipe["model_output"] is False
    assert len(recipe["image_sha256"]) == 64
    for secret in ("host.png", "voice.wav", str(folder), "A secret plan"):
        assert secret.encode() not in content


def test_the_prompt_is_embedded_only_when_asked(cli):
    cli("generate", "host.png", "voice.wav", "-p", "A secret plan", "--embed-prompt", *SMALL)

    assert read_recipe(Path("voice.preview.mp4"))["prompt"] == "A secret plan"


def test_a_sidecar_holds_everything(cli):
    cli("generate", "host.png", "voice.wav", "-p", "A café", "--sidecar", *SMALL)

    recipe = json.loads(Path("voice.preview.mp4.json").read_text())
    assert (recipe["prompt"], recipe["voices"]) == ("A café", ["voice.wav"])


def test_a_sidecar_in_another_file_s_place_is_refused_before_anything_is_made(cli, folder):
    (folder / "voice.preview.mp4.json").write_text("of mine")

    ran = cli("generate", "host.png", "voice.wav", "--sidecar", *SMALL, "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_OUTPUT_EXISTS")
    assert not (folder / "voice.preview.mp4").exists()
    assert (folder / "voice.preview.mp4.json").read_text() == "of mine"
    assert cli("generate", "host.png", "voice.wav", "--sidecar", "--force", *SMALL).code == 0
    assert "voice.wav" in (folder / "voice.preview.mp4.json").read_text()


# To stdout


def test_a_video_can_be_written_to_stdout_alone(cli, folder):
    before = set(folder.iterdir())

    ran = cli("generate", "host.png", "voice.wav", "-o", "-", *SMALL)

    assert ran.code == 0
    assert set(folder.iterdir()) == before
    assert "price" in ran.stderr
    (folder / "piped.preview.mp4").write_bytes(ran.stdout.encode("utf-8", "surrogateescape"))
    assert read_recipe(folder / "piped.preview.mp4")["backend"] == "preview"


@pytest.mark.parametrize("option", ["--json", "--sidecar", "--detach"])
def test_what_needs_a_file_excludes_stdout(cli, option):
    ran = cli("generate", "host.png", "voice.wav", "-o", "-", option, *SMALL)

    assert ran.code == 2
    assert option in ran.stderr + ran.stdout
    assert "E_CONFLICT" in ran.stderr + ran.stdout


def test_no_video_is_written_to_a_terminal(command, surroundings):
    words = ["generate", "host.png", "voice.wav", "-o", "-", *SMALL]

    shown, code = pexpect.run(
        shlex.join([str(command / "multitalk"), *words]), env=surroundings, withexitstatus=True
    )

    assert code == 2
    assert b"which is a terminal" in shown


@pytest.mark.parametrize(
    "words", [("jobs", "fetch", "7f3a"), ("jobs", "attach", "7f3a"), ("s3", "get", "k")]
)
def test_other_commands_have_no_stdout_as_output(cli, words):
    ran = cli(*words, "-o", "-", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_OUTPUT_NAME")


# Two voices


@pytest.mark.usefixtures("duo")
def test_two_voices_in_sequence_last_as_long_as_both(cli, speech):
    speech("a.wav", 1.0)
    speech("b.wav", 1.5, start_s=1.2)

    ran = cli("generate", "duo.png", "a.wav", "b.wav", *SMALL, "--json")

    data = ran.json["data"]
    assert Path(data["output"]).name == "duo-a-b.preview.mp4"
    assert abs(data["seconds"] - 2.5) <= 1 / 24
    assert "a.wav" in ran.stderr
    assert "sequence" in ran.stderr


@pytest.mark.usefixtures("duo")
@pytest.mark.parametrize("order", ["together", "para"])
def test_two_voices_together_last_as_long_as_the_longer(cli, speech, order):
    speech("a.wav", 1.0)
    speech("b.wav", 1.5, start_s=1.2)

    ran = cli("generate", "duo.png", "a.wav", "b.wav", "--order", order, *SMALL, "--json")

    assert abs(ran.json["data"]["seconds"] - 1.5) <= 1 / 24


@pytest.mark.usefixtures("duo")
@pytest.mark.parametrize("place", ["right", "face:2", "box:55%,10%,95%,90%"])
def test_one_of_two_people_may_be_the_only_one_who_talks(cli, place):
    ran = cli("generate", "duo.png", "--speaker", f"{place}=voice.wav", *SMALL)

    assert ran.code == 0, ran.stderr


def test_two_voices_for_one_face_are_refused_or_warned_of(cli, speech):
    speech("b.wav", 1.5, start_s=1.2)

    ran = cli("generate", "host.png", "voice.wav", "b.wav", "--plan")

    assert ran.code in (0, 2)
    assert "1 face" in ran.stderr


# The plan


@pytest.mark.usefixtures("duo")
def test_a_plan_is_a_table_and_a_picture_and_makes_nothing(cli, folder, speech):
    speech("b.wav", 1.5, start_s=1.2)
    before = {path.name for path in folder.iterdir()}

    ran = cli("generate", "duo.png", "voice.wav", "b.wav", "--plan")

    assert ran.code == 0
    assert {path.name for path in folder.iterdir()} - before == {"duo.plan.png"}
    assert "h100" in ran.stdout
    assert "$" in ran.stdout
    assert "duo.plan.png" in ran.stdout


@pytest.mark.parametrize("flag", ["--plan", "--dry-run"])
def test_a_plan_needs_no_backend_and_can_be_json(cli, flag):
    ran = cli("generate", "host.png", "voice.wav", flag, "--json")

    data = ran.json["data"]
    assert ran.code == 0
    assert Path(data["picture"]).is_file()
    assert data["plan"]["windows"] == [{"start": 0, "frames": 77}]


def test_a_plan_again_is_the_same_picture_and_another_plan_another_one(cli, folder):
    for words in ((), ("--steps", "30"), ("--preset", "fast"), ("--fit", "contain")):
        assert cli("generate", "host.png", "voice.wav", "--plan", *words).code == 0

    assert sorted(folder.glob("*.plan.png")) == [
        folder / "host.2.plan.png",
        folder / "host.plan.png",
    ]


def test_a_plan_overwrites_another_file_only_when_forced(cli, folder):
    (folder / "host.plan.png").write_bytes(b"of mine")
    arguments = ("generate", "host.png", "voice.wav", "--plan")

    assert "host.2.plan.png" in cli(*arguments).stdout
    assert (folder / "host.plan.png").read_bytes() == b"of mine"
    assert "host.plan.png" in cli(*arguments, "--force").stdout
    assert (folder / "host.plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("place", ["/proc/", "gone/talk.mp4", "host.png/talk.mp4"])
def test_a_plan_without_a_place_for_its_picture_is_a_table_all_the_same(cli, place):
    ran = cli("generate", "host.png", "voice.wav", "--plan", "-o", place)

    assert ran.code == 0
    assert "$" in ran.stdout
    assert "the plan's picture was not written" in ran.stderr
    assert "plan.png" not in ran.stdout
    assert (
        cli("generate", "host.png", "voice.wav", "--plan", "-o", place, "--json").json["data"][
            "picture"
        ]
        is None
    )


def test_a_plan_offers_no_price_on_a_gpu_that_cannot_run_it(cli):
    ran = cli("generate", "host.png", "voice.wav", "--plan", "--gpu", "t4", "--size", "2048x2048")

    assert ran.code == 8
    assert "E_GPU_TOO_SMALL" in ran.stderr
    assert "$" not in ran.stdout
    assert "--gpu h100" in ran.stderr


def test_a_preview_names_no_price_on_a_gpu_that_cannot_run_the_video(cli, speech):
    speech("short.wav", 0.3)
    ran = cli("generate", "host.png", "short.wav", "--gpu", "t4", "--size", "1280x720", *PREVIEW)

    assert ran.code == 0
    assert "the video: t4 cannot run it" in ran.stderr


@pytest.mark.usefixtures("duo")
def test_a_typed_box_counts_as_one_person_and_is_cut_with_a_word(cli):
    ran = cli("generate", "duo.png", "--speaker", "box:55%,0%,95%,100%=voice.wav", "--plan")

    assert "cut to the frame" in ran.stderr
    assert "cannot be whole" not in ran.stderr


def test_a_plan_beyond_the_money_is_refused_and_shows_no_other_result(cli, folder):
    ran = cli("generate", "host.png", "voice.wav", "--plan", "--max-cost", "0.01", "--json")

    assert (ran.code, ran.error["code"]) == (8, "E_COST")
    assert "cheaper: --steps 10 (about $" in ran.error["hint"]
    assert ", --gpu " in ran.error["hint"]
    assert not (folder / "host.plan.png").exists()


def test_a_plan_within_the_money_is_shown(cli):
    assert cli("generate", "host.png", "voice.wav", "--plan", "--max-cost", "5").code == 0


# Inputs of every kind


@pytest.mark.parametrize("suffix", ["jpg", "webp", "gif", "tiff"])
def test_pictures_of_every_kind(cli, suffix):
    from PIL import Image

    with Image.open("host.png") as picture:
        picture.convert("RGB").save(f"other.{suffix}")

    assert cli("generate", f"other.{suffix}", "voice.wav", "--plan").code == 0


@pytest.mark.parametrize("suffix", ["flac", "mp3", "m4a", "ogg", "opus", "webm", "mp4", "mov"])
def test_voices_of_every_kind(cli, suffix):
    import imageio_ffmpeg

    made = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "voice.wav", f"other.{suffix}"],
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"this ffmpeg writes no {suffix}")

    ran = cli("generate", "host.png", f"other.{suffix}", "--plan", "--json")

    assert ran.code == 0, ran.stderr
    assert abs(ran.json["data"]["plan"]["seconds"] - 3.1) < 0.1


@pytest.mark.parametrize(("width", "unpack"), [(1, "B"), (2, "<h"), (4, "<i")])
@pytest.mark.parametrize("channels", [1, 2])
def test_waves_of_every_width(cli, width, unpack, channels):
    with wave.open("voice.wav", "rb") as source:
        samples = struct.iter_unpack("<h", source.readframes(-1))
    scale = {1: lambda x: (x >> 8) + 128, 2: lambda x: x, 4: lambda x: x << 16}[width]
    with wave.open("other.wav", "wb") as target:
        target.setparams((channels, width, 16_000, 0, "NONE", ""))
        target.writeframes(b"".join(struct.pack(unpack, scale(x)) * channels for (x,) in samples))

    ran = cli("generate", "host.png", "other.wav", "--plan")

    assert ran.code == 0, ran.stderr


# Settings and backends


def test_settings_apply_and_options_win(cli, folder, monkeypatch):
    (folder / "multitalk.toml").write_text('backend = "preview"\nfps = 25\nsize = "192x96"\n')
    monkeypatch.setenv("MULTITALK_SEED", "3")

    assert cli("generate", "host.png", "voice.wav", "--json").json["data"]["fps"] == 25
    ran = cli("generate", "host.png", "voice.wav", "--fps", "24", "--force", "--json")
    assert ran.json["data"]["fps"] == 24


def test_a_script_gets_no_preview_unasked(cli, folder):
    ran = cli("generate", "host.png", "voice.wav", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_NO_BACKEND")
    assert "--backend preview" in ran.error["hint"]
    assert not (folder / "voice.mp4").exists()
    assert not (folder / "voice.preview.mp4").exists()


# demo


def test_the_demo_makes_a_video_says_what_comes_next_and_can_be_run_again(cli, folder, monkeypatch):
    ran = cli("demo")

    assert ran.stdout == f"{folder}/multitalk-demo.preview.mp4\n"
    assert "preview" in ran.stderr
    assert seconds_of("multitalk-demo.preview.mp4")[0] == 75

    again = cli("demo")
    assert again.stdout == ran.stdout
    assert cli("demo", "--json").json["data"]["already_made"] is True

    (line,) = (line for line in again.stderr.splitlines() if "With your own files" in line)
    words = line.partition(":  multitalk ")[2].split()
    shutil.copy("host.png", "IMAGE")
    shutil.copy("voice.wav", "VOICE")
    monkeypatch.setenv("MULTITALK_SIZE", "192x96")
    assert cli(*words).code == 0
