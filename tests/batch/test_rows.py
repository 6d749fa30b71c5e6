"""All that is wrong with rows is said together, with their numbers, before anything is started."""

import json
import os
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
import typer.main

from multitalk_cli.batch.problems import Problems
from multitalk_cli.batch.rows import COLUMNS, INPUTS, find_collision
from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion.tree import read_tree
from multitalk_cli.cli.views.batch import plan_blocks
from multitalk_cli.contract import JOBS_KEPT_S
from multitalk_cli.errors import FileError, RefusedError, UsageError
from multitalk_cli.generation.arguments import known_inputs
from multitalk_cli.generation.spec import build_spec
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.planning.presets import PRESETS, Denoising, denoising_of
from multitalk_cli.planning.request import make_recipe
from multitalk_cli.settings import NAMES, SETTINGS
from tests.batch.made import planned, speak
from tests.jobs.simulated import video_with
from tests.jobs.test_ledger import job_of
from tests.media.audio.sounds import speech_like, write_wav

NOT_OF_ROWS = {"plan", "dry_run", "detach", "help_all", "help"}


@pytest.fixture(autouse=True)
def inputs(portrait, faces_remembered):
    speak("a.wav", "b.wav")
    return portrait


def manifest(text):
    Path("list.csv").write_text(text)
    return "list.csv"


def problems(text, error=UsageError, **defaults):
    with pytest.raises(error) as caught:
        planned(manifest(text), **defaults)
    head, *lines = caught.value.message.split("\n")
    assert head.endswith("in list.csv; nothing was started")
    return lines


def test_the_columns_are_the_options_of_generate():
    (generate,) = read_tree(typer.main.get_command(app)).commands[:1]
    assert generate.path == ("generate",)
    first = {option.names[0] for option in generate.options}
    names = {name.lstrip("-").replace("-", "_") for name in first}
    settings = {NAMES.get(name, name) for name in names}

    assert {*COLUMNS} - {*INPUTS} == settings - NOT_OF_ROWS


def test_a_batch_takes_every_setting_that_generate_takes():
    commands = {each.words: each for each in read_tree(typer.main.get_command(app)).commands}
    settings = {
        name: {each for option in commands[name].options for each in option.names}
        & {setting.option for setting in SETTINGS.values()}
        for name in ("batch", "generate")
    }

    assert settings["batch"] == settings["generate"]


def test_all_problems_are_said_at_once():
    text = (
        "id,image,voice,voice2,fps,seed,ouput,upload\n"
        "x,host.png,a.wav,,900,,,\n"
        "x,gone.png,a.wav,,,,,\n"
        "y,host.png,a.wav,a.wav,,,,\n"
        "y,host.png,,,,,,\n"
        ",host.png,a.wav,,,1.5,,\n"
        ",a.wav,host.png,,,,,\n"
        ",,a.wav,,,,,\n"
        "q,host.png,a.wav,,,,,perhaps\n"
        "r,host.png,b.wav,,,,,\n"
        "r,host.png,b.wav,,,,,\n"
    )

    assert problems(text) == [
        "row 1: unknown column 'ouput'; did you mean 'output'?",
        "row 2: fps must be from 8 to 60, not 900",
        f"rows 3, 6, 9: the output '{Path.cwd()}/a.preview.mp4' is that of row 2",
        "row 3: gone.png does not exist",
        "row 4: 'a.wav' was given as both voices",
        "row 5: a voice is missing",
        "row 6: seed must be a whole number, not '1.5'",
        "row 7: 'a.wav' is a sound and 'host.png' a picture: they are swapped",
        "row 8: no image",
        "row 9: upload must be true or false, not 'perhaps'",
        f"row 11: the output '{Path.cwd()}/b.preview.mp4' is that of row 10",
        "row 11: id 'r' is that of row 10",
    ]
    assert not list(Path.cwd().glob("*.mp4"))


def test_what_is_wrong_inside_of_files_and_cells_is_said_in_the_same_round():
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    text = (
        "image,voice,output,fps,steps,seed\n"
        "host.png,a.wav,1.mp4,900,none,x\n"
        "broken.png,a.wav,2.mp4,,,\n"
        "broken.png,b.wav,gone/3.mp4,7,,\n"
        "host.png,b.wav,1.mp4,,,\n"
    )

    lines = problems(text)

    assert [line.partition(":")[0] for line in lines] == [
        "row 2", "row 2", "row 2", "rows 3, 4", "row 4", "row 4", "row 5",
    ]  # fmt: skip
    words = ("fps", "steps", "seed", "broken.png", "fps", "gone", "1.preview.mp4' is that of row 2")
    assert all(word in line for word, line in zip(words, lines, strict=True)), lines


@pytest.mark.parametrize(
    ("names", "is_refused"),
    [(("Ann", "ann"), True), (("\u00e9", "e\u0301"), True), (("ann", "anna"), False)],
)
def test_outputs_that_are_one_file_on_some_disks_are_refused(names, is_refused):
    rows = "".join(f"host.png,a.wav,{name}.mp4\n" for name in names)
    text = f"image,voice,output\n{rows}"
    if not is_refused:
        assert len(planned(manifest(text)).videos) == 2
        return

    (line,) = problems(text)

    assert line.startswith("row 3: the output ") and "is on macOS and Windows the file '" in line
    assert line.endswith(f"{names[0]}.preview.mp4' of row 2")


def test_objects_of_a_store_differ_by_their_case():
    first, second = Problems(), Problems()
    for found, scheme in ((first, "s3://bucket/"), (second, "/videos/")):
        for number, name in enumerate(("A.mp4", "a.mp4")):
            find_collision(scheme + name, number, found)

    assert (bool(first), bool(second)) == (False, True)


def test_two_columns_of_one_option_are_a_problem_where_both_are_filled():
    text = "image,voice,steps,sample-steps\nhost.png,a.wav,12,\nhost.png,b.wav,12,20\n"

    (line,) = problems(text)
    assert line == "row 3: two columns hold the option 'sample_steps'"


def test_missing_files_alone_are_exit_3():
    assert problems("image,voice\nno.png,a.wav\nno.png,b.wav\nhost.png,c.wav\n", FileError) == [
        "rows 2, 3: no.png does not exist",
        "row 4: c.wav does not exist",
    ]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("{n}.preview.mp4", "a rerun would make it again"),
        ("{seed}.preview.mp4", "needs a seed to be found again"),
        ("-", "for multitalk generate only"),
        ("x.avi", "a preview's name ends in .preview.mp4"),
        ("gone/", "does not exist"),
        ("{id}.preview.mp4", "id '../x' cannot be part of a file's name"),
    ],
)
def test_outputs_that_a_rerun_would_not_find_are_refused(output, said):
    error = FileError if output == "gone/" else UsageError
    (line,) = problems(f"id,image,voice,output\n../x,host.png,a.wav,{output}\n", error)

    assert line.startswith("row 2: ") and said in line


def test_options_of_rows_go_before_those_of_the_command_line():
    path = manifest("image,voice,steps,Negative Prompt\nhost.png,a.wav,30,\nhost.png,b.wav,,rain\n")

    first, second = planned(path, given={"sample_steps": "12"}).videos

    assert [each.row.settings["sample_steps"] for each in (first, second)] == [30, 12]
    assert second.row.settings["negative_prompt"] == "rain"


def test_a_preset_of_a_row_goes_before_options_of_the_command_line():
    path = manifest(
        "image,voice,output,preset,lora,tier\nhost.png,a.wav,1.preview.mp4,fast,,\n"
        "host.png,a.wav,2.preview.mp4,,,near\n"
        "host.png,a.wav,3.preview.mp4,fast,lightx2v:0.5,turbo\n"
    )

    rows = planned(path, given={"sample_steps": "12"}).videos

    found = [denoising_of(each.row.settings) for each in rows]
    assert found[0] == PRESETS["fast"]
    assert found[1] == Denoising(sample_steps=12, tier="near")
    assert found[2] == replace(PRESETS["fast"], lora="lightx2v:0.5", tier="turbo")


def test_paths_follow_the_manifest_from_any_folder(folder, monkeypatch):
    manifest("image,voice,output\nhost.png,a.wav,out/\nhost.png,b.wav,\n")
    (folder / "out").mkdir()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")

    targets = [video.target.resolve() for video in planned("../list.csv").videos]

    assert targets == [folder / "out" / "a.preview.mp4", folder / "b.preview.mp4"]


def test_the_output_of_the_command_line_follows_the_current_folder_and_knows_ids(folder):
    (folder / "out").mkdir()
    path = manifest("id,image,voice\nmine,host.png,a.wav\n,host.png,b.wav\n")

    videos = planned(path, output="out/{id}.preview.mp4").videos

    assert [str(each.target) for each in videos] == ["out/mine.preview.mp4", "out/3.preview.mp4"]


def test_a_list_is_previewed_beside_its_videos():
    path = manifest("image,voice,output\nhost.png,a.wav,x.mp4\nhost.png,b.wav,y.preview.mp4\n")

    first, second = planned(path).videos

    assert (first.target.name, second.target.name) == ("x.preview.mp4", "y.preview.mp4")
    (line,) = problems(Path(path).read_text(), given={"backend": "modal"})
    assert line == (
        "row 3: 'y.preview.mp4' is the name of a preview: that of a video ends in .mp4 alone"
    )


def test_two_rows_with_one_preview_are_refused():
    text = "image,voice,output\nhost.png,a.wav,x.mp4\nhost.png,b.wav,x.preview.mp4\n"

    (line,) = problems(text)
    assert line == f"row 3: the output '{Path.cwd()}/x.preview.mp4' is that of row 2"


def test_speakers_are_placed(folder):
    path = manifest("image,speaker\nhost.png,face:1=a.wav\n")

    (video,) = planned(path).videos

    assert video.row.args.speakers == ("face:1=a.wav",)


@pytest.fixture
def account(monkeypatch):
    """A token, which plans do not use."""
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")


def test_a_row_above_max_cost_is_refused_before_anything_is_started(account):
    text = "image,voice,max_cost\nhost.png,a.wav,0.01\nhost.png,b.wav,9\n"

    (line,) = problems(text, RefusedError, given={"backend": "modal"})

    assert line.startswith("row 2: the estimate is up to $0.")


@pytest.mark.parametrize(
    ("column", "words", "way_out"),
    [
        ("", ("--max-cost", "0.01"), "--max-cost 0."),
        ("", ("--preset", "fastest", "--gpu", "l4"), "--preset fastest --gpu h100"),
        ("", ("--attention", "fa2"), "--attention fa2 --stack cuda12.1"),
        ("max_cost", (), "Correct or remove these rows"),
    ],
)
def test_rows_that_no_option_of_theirs_forbids_are_let_in_by_the_command(
    cli, account, column, words, way_out
):
    manifest(f"image,voice,{column}\nhost.png,a.wav,{0.01 if column else ''}\n")
    command = ("batch", "list.csv", "--plan", "--backend", "modal")

    error = cli(*command, *words, "--json").error

    assert (error["code"], error["exit_code"]) == ("E_ROW_COST", 8)
    assert way_out in error["hint"]
    if not column:
        assert cli(*shlex.split(error["hint"])[1:]).code == 0


@pytest.mark.parametrize(("budget", "answer"), [("9", "enough for all"), ("0.1", "up to $0.")])
def test_a_plan_tells_time_and_whether_the_budget_does(cli, budget, answer):
    manifest("image,voice\nhost.png,a.wav\n")

    ran = cli("batch", "list.csv", "--plan", "--backend", "modal", "--budget", budget)

    assert re.search(r"^GPU time +.* in all$", ran.stdout, re.MULTILINE)
    assert re.search(rf"^budget .*{re.escape(answer)}", ran.stdout, re.MULTILINE)


def test_rows_that_one_job_makes_are_priced_once(account):
    rows = ("1.mp4,5,", "2.mp4,5,", "3.mp4,6,", "4.mp4,5,true", "5.mp4,5,")
    text = "image,voice,output,seed,force\n" + "".join(f"host.png,a.wav,{row}\n" for row in rows)

    plan = planned(manifest(text), given={"backend": "modal"})

    same = [each.same_as and each.same_as.row.number for each in plan.videos]
    assert same == [None, 2, None, None, 2]
    assert plan.price_usd == pytest.approx(3 * plan.videos[0].price_usd)
    assert plan.ordered() == list(plan.videos)


def test_a_first_window_whose_whole_video_is_there_is_the_whole_video(account):
    write_wav("long.wav", speech_like(6.0))
    path = manifest("image,voice,seed\nhost.png,long.wav,5\n")
    given = {"backend": "modal"}
    (video,) = planned(path, given=given).videos
    spec = build_spec(video.row.args, video.row.settings)
    summary = video.inputs.summary
    recipe = make_recipe(summary, spec.options, "modal", model_output=True)
    Path("long.mp4").write_bytes(video_with(json.dumps(recipe)))

    (whole,) = planned(path, given=given, first=True).videos
    Path("long.mp4").rename("long.first.mp4")
    Path("long.first.mp4").write_bytes(video_with(json.dumps({**recipe, "first_window": True})))
    (first,) = planned(path, given=given, first=True).videos

    assert (whole.known, whole.target.name) == ("whole", "long.mp4")
    assert (first.known, first.target.name) == ("made", "long.first.mp4")
    assert whole.seconds > first.seconds


def test_an_output_that_is_another_file_is_refused(cli):
    Path("a.preview.mp4").write_bytes(b"mine")

    (line,) = problems("image,voice\nhost.png,a.wav\n", FileError)

    assert line.endswith("exists and was not made by multitalk")
    words = ("batch", "list.csv", "--backend", "preview", "--plan")
    command, other = cli(*words, "--json").error["hint"].split("\n")
    assert command == "multitalk batch list.csv --backend preview --plan --force"
    assert "move these files" in other
    assert cli(*command.split()[1:]).code == 0


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ((), "{id}.mp4"),
        (("-o", "{voice}.mp4"), "{id}.mp4"),
        (("-o", "out"), "out/{id}.mp4"),
        (("-o", "out/"), "out/{id}.mp4"),
    ],
)
def test_rows_that_share_an_output_get_one_by_their_ids(cli, options, output):
    Path("out").mkdir()
    manifest("image,voice\nhost.png,a.wav\nhost.png,a.wav\n")
    words = ("batch", "list.csv", "--backend", "preview", "--plan")

    ran = cli(*words, *options, "--json")

    assert ran.error["hint"] == shlex.join(["multitalk", *words, "-o", output])
    rows = cli(*words, "-o", output, "--json").json["data"]["rows"]
    assert [Path(row["output"]).name for row in rows] == ["2.preview.mp4", "3.preview.mp4"]


def test_a_row_with_a_bad_option_has_its_files_looked_at_too():
    lines = problems("image,voice,seed\nhost.png,a.wav,1\nhost.png,gone.wav,x\n")

    assert lines == [
        "row 3: seed must be a whole number, not 'x'",
        "row 3: gone.wav does not exist",
    ]


def test_a_missing_file_is_one_problem():
    assert len(problems("image,voice\nhost.png,gone.wav\n", FileError)) == 1


def test_a_kernel_that_the_stack_lacks_is_refused_before_anything_is_paid():
    given = {"backend": "modal", "attention": "fa2"}

    (line,) = problems("image,voice\nhost.png,a.wav\n", RefusedError, given=given)

    assert "no attention fa2" in line


def test_a_folder_that_all_rows_lack_is_made_with_one_command(cli):
    manifest("image,voice,output\nhost.png,a.wav,out/a.preview.mp4\nhost.png,b.wav,out/\n")

    ran = cli("batch", "list.csv", "--backend", "preview", "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_ROW_FILES")
    assert ran.error["hint"] == "mkdir -p out"


def test_a_list_may_be_a_pipe_with_a_name(cli, folder):
    os.mkfifo("list")
    content = "image,voice\nhost.png,a.wav\n"
    writer = Thread(target=Path("list").write_text, args=[content], daemon=True)
    writer.start()

    ran = cli("batch", "list", "--backend", "preview", "--plan", "--json")

    assert ran.code == 0, ran.stderr
    assert [Path(each["output"]) for each in ran.json["data"]["rows"]] == [folder / "a.preview.mp4"]


def test_the_plan_shows_presets_where_rows_differ():
    def plan_table(text):
        return plan_blocks(planned(manifest(text)), ["batch", "list.csv"])[0]

    one = plan_table("image,voice\nhost.png,a.wav\nhost.png,b.wav\n")
    several = plan_table("image,voice,preset\nhost.png,a.wav,fast\nhost.png,b.wav,\n")

    assert "preset" not in one.titles
    assert [row[several.titles.index("preset")] for row in several.rows] == ["fast", "standard"]


# Jobs that ended


def add_finished(video, ended_s):
    """A job in the list of jobs that made this video."""
    spec, summary = build_spec(video.row.args, video.row.settings), video.inputs.summary
    recipe = make_recipe(summary, spec.options, "modal", model_output=True)
    names = video.inputs.build_request("0" * 16, recipe).fingerprints
    ledger, job = Ledger(), job_of("a" * 16, names[0], target=str(video.target))
    ledger.start(job, inputs=known_inputs(spec, summary))
    ledger.update(job.id, state="done", ended_s=ended_s, fetched_s=ended_s)


@pytest.mark.parametrize(("age_s", "known"), [(0.0, "finished"), (JOBS_KEPT_S + 60.0, "")])
def test_a_job_whose_video_is_no_longer_kept_is_paid_again_and_priced(age_s, known):
    text = "image,voice,seed\nhost.png,a.wav,1\n"
    (before,) = planned(manifest(text), given={"backend": "modal"}).videos
    add_finished(before, time.time() - age_s)

    (video,) = planned(manifest(text), given={"backend": "modal"}).videos

    assert (before.known, video.known) == ("", known)
    assert (video.price_usd == 0) == bool(known)
