"""A batch runs to its end: rows fail alone, reruns make what is missing, stopping is orderly."""

import json
from pathlib import Path

import pytest

from multitalk_cli.batch.plan import BatchPlan, Budget
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.reporting.reporter import QuietReporter
from tests.batch.made import Seen, planned, run, speak


@pytest.fixture(autouse=True)
def inputs(portrait, faces_remembered):
    speak("a.wav", "b.wav", "c.wav")
    Path("list.csv").write_text(
        "id,image,voice\nA,host.png,a.wav\nB,host.png,b.wav\nC,host.png,c.wav\n"
    )
    return portrait


def states(batch):
    return [(each.planned.id, each.state) for each in batch.results]


def test_a_rerun_makes_only_what_is_missing():
    first = run(planned("list.csv"))
    assert states(first) == [("A", "done"), ("B", "done"), ("C", "done")]
    before = {path: path.stat().st_mtime_ns for path in Path.cwd().glob("*.mp4")}
    Path("b.preview.mp4").unlink()

    plan = planned("list.csv")
    again = run(plan)

    assert [video.known for video in plan.videos] == ["made", "", "made"]
    assert [each.video.already_made for each in again.results] == [True, False, True]
    kept = {path for path, made in before.items() if path.stat().st_mtime_ns == made}
    assert {path.name for path in before.keys() - kept} == {"b.preview.mp4"}


class Person(QuietReporter):
    """Somebody who watches, and what is said."""

    is_interactive = True

    def __init__(self):
        super().__init__()
        self.said = []

    def fact(self, label, text):
        self.said.append((label, text))


def test_without_a_backend_a_person_gets_previews_and_is_told_once(monkeypatch):
    monkeypatch.delenv("MODAL_TOKEN_ID", raising=False)
    person = Person()

    batch = run(planned("list.csv", person, given={"backend": None}))

    assert states(batch) == [("A", "done"), ("B", "done"), ("C", "done")]
    assert [label for label, _ in person.said] == ["backend"]


def remove_voice(name):
    """Takes a voice away once the first video is drawn: its row fails."""
    return Seen(lambda _planned, _event: Path(name).unlink(missing_ok=True))


def test_a_row_that_fails_leaves_the_others_alone():
    batch = run(planned("list.csv"), remove_voice("b.wav"), parallel=1)

    assert states(batch) == [("A", "done"), ("B", "failed"), ("C", "done")]
    assert batch.results[1].code == "E_FILE_MISSING"
    assert not batch.is_complete


def test_fail_fast_starts_no_other_row():
    batch = run(planned("list.csv"), remove_voice("b.wav"), parallel=1, fail_fast=True)

    assert states(batch) == [("A", "done"), ("B", "failed"), ("C", "not started")]
    assert batch.results[2].reason == "row 3 failed (--fail-fast)"


class Asked:
    """Requests to stop that come with the first event, and what the user chooses."""

    is_urgent = False

    def __init__(self):
        self.is_pending, self.questions = False, []

    def choose(self, question):
        self.questions.append(question)
        return "cancel"


def test_a_request_to_stop_ends_what_runs_and_starts_nothing_more():
    asked = Asked()

    def ask(_planned, _event):
        asked.is_pending = True

    batch = run(planned("list.csv"), Seen(ask), asked, parallel=1)

    assert batch.stopped == "cancel"
    assert [state for _, state in states(batch)][1:] == ["not started", "not started"]
    assert batch.results[0].state in ("cancelled", "done")
    assert asked.questions == [None]  # nothing here could be left running
    assert not list(Path.cwd().glob("*.part*"))


def test_rows_at_the_same_time_all_end():
    seen = Seen()
    batch = run(planned("list.csv"), seen, parallel=3)

    assert [state for _, state in states(batch)] == ["done"] * 3
    assert sorted(seen.begun) == ["A", "B", "C"]
    assert len(seen.results) == 3


# Variations


def test_a_row_with_seeds_becomes_as_many_videos_that_a_rerun_finds():
    Path("list.csv").write_text(
        "id,image,voice,seeds,seed\nA,host.png,a.wav,3,\nB,host.png,b.wav,2,7\n"
    )

    plan = planned("list.csv")
    run(plan)
    again = planned("list.csv")

    assert [video.target for video in plan.videos] == [video.target for video in again.videos]
    assert {video.known for video in again.videos} == {"made"}
    seeds = [read_recipe(video.target)["seed"] for video in plan.videos]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2, 7, 8]
    assert [video.target.name for video in plan.videos[3:]] == [
        "b-7.preview.mp4",
        "b-8.preview.mp4",
    ]


def test_generate_makes_variations_of_which_a_rerun_finds_all(cli):
    words = ("generate", "host.png", "a.wav", "--backend", "preview", "--size", "192x96", "--json")

    first = cli(*words, "--seeds", 2).json["data"]
    again = cli(*words, "--seeds", 3).json["data"]

    assert [row["already_made"] for row in again["rows"]] == [True, True, False]
    assert [row["output"] for row in again["rows"]][:2] == [row["output"] for row in first["rows"]]
    one = cli(*words, "--seed", first["rows"][1]["seed"], "-o", first["rows"][1]["output"])
    assert one.json["data"]["already_made"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--seeds", "0"), "E_RANGE"),
        (("--seeds", "2", "-o", "x.preview.mp4"), "E_OUTPUT_NAME"),
        (("--seeds", "2", "--detach"), "E_CONFLICT"),
        (("--seeds", "2", "-o", "-"), "E_CONFLICT"),
        (("--seeds", "2", "--seed", str(2**63 - 1)), "E_RANGE"),
    ],
)
def test_variations_that_cannot_be_are_refused(cli, words, code):
    ran = cli("generate", "host.png", "a.wav", "--backend", "preview", *words)

    assert ran.code == 2
    assert code in ran.stderr


# The command


def test_each_row_is_a_line_of_json_as_it_ends(cli):
    ran = cli("batch", "list.csv", "--backend", "preview", "--size", "192x96")

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.code == 0
    assert [(row["id"], row["state"], row["version"]) for row in rows] == [
        (name, "done", 1) for name in "ABC"
    ]
    assert all(Path(row["output"]).is_file() for row in rows)


def test_a_manifest_comes_from_a_pipe_or_a_folder_but_not_from_both(cli):
    assert cli("batch").code == 2
    assert cli("batch", "list.csv", "--pairs", ".").code == 2


# Money


def test_a_plan_of_previews_names_the_command_for_the_price_of_the_videos(cli):
    words = ("batch", "list.csv", "--plan")

    shown = cli(*words, "--backend", "preview").stdout

    (line,) = [line for line in shown.splitlines() if "multitalk" in line]
    assert line.strip() == "multitalk batch list.csv --plan --backend modal"
    assert "$" in cli(*line.split()[1:]).stdout


def test_a_budget_counts_what_is_paid_and_what_runs():
    budget = Budget(limit_usd=2.0, paid_usd=1.0, reserved_usd={1: 0.5})

    assert budget.fits(0.5)
    assert not budget.fits(0.51)
    assert budget.fits(0.0)
    assert Budget().fits(1e9)


def test_videos_of_one_gpu_follow_each_other(monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")
    Path("list.csv").write_text(
        "id,image,voice,gpu\nA,host.png,a.wav,h100\nB,host.png,b.wav,h200\nC,host.png,c.wav,h100\n"
    )

    plan = planned("list.csv", given={"backend": "modal"})

    assert [video.id for video in plan.ordered()] == ["A", "C", "B"]
    assert plan.price_usd == sum(video.price_usd for video in plan.videos) > 0
    assert isinstance(plan, BatchPlan)
