"""Jobs run again: inputs found by their content, and one question of money for all."""

import hashlib
import json

import pytest

from multitalk_cli.errors import FileError, RefusedError, UsageError
from multitalk_cli.generation.arguments import record_arguments
from multitalk_cli.generation.rerun import check_total, prepare_rerun
from multitalk_cli.generation.spec import GenerateArgs
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.reporting.reporter import QuietReporter
from multitalk_cli.settings import load_settings
from tests.jobs.test_ledger import job_of
from tests.planning.plans import plan_of, recipe_of

RECIPE = json.dumps(recipe_of(plan_of(12.4)))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "state" / "jobs.sqlite3")


@pytest.fixture
def inputs(tmp_path):
    """A picture and a voice, as far as their bytes matter."""
    found = []
    for name in ("host.png", "voice.wav"):
        (tmp_path / name).write_bytes(name.encode())
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        found.append(KnownInput(sha256=sha256, location=str(tmp_path / name)))
    return found


def recorded(ledger, inputs, name="a", state=jobs_ledger.FAILED, **settings):
    """A job of these inputs that has ended."""
    picture, voice = (each.location for each in inputs)
    args = GenerateArgs(image=picture, voices=(voice,), speakers=(), prompt="A host", seed=None)
    request = record_arguments(args, load_settings(settings))
    job = job_of(name * 8, name, request=request, recipe=RECIPE, target=f"/v/{name}.mp4")
    ledger.start(job, inputs=inputs)
    ledger.update(job.id, state=state)
    return ledger.get(job.id)


def test_a_job_runs_with_its_arguments_for_its_output(ledger, inputs):
    again = prepare_rerun(ledger, recorded(ledger, inputs, gpu="l40s"), {"max_cost": "3"})

    assert (again.args.image, again.args.voices) == (inputs[0].location, (inputs[1].location,))
    assert (again.args.output, again.args.seed, again.args.force) == ("/v/a.mp4", None, False)
    assert (again.settings["gpu"], again.settings["max_cost"]) == ("l40s", 3.0)
    assert (again.estimate.gpu, again.estimate.price_usd > 0) == ("l40s", True)


@pytest.mark.parametrize("state", [jobs_ledger.RUNNING, jobs_ledger.DONE])
def test_what_is_paid_has_no_price(ledger, inputs, state):
    assert prepare_rerun(ledger, recorded(ledger, inputs, state=state), {}).estimate is None


def test_an_input_that_moved_is_found_by_its_content(ledger, inputs, tmp_path):
    job = recorded(ledger, inputs)
    voice = inputs[1]
    moved = (tmp_path / "voice.wav").rename(tmp_path / "moved.wav")
    with pytest.raises(FileError, match="gone or has changed") as caught:
        prepare_rerun(ledger, job, {})
    assert caught.value.code == "E_FILE_MISSING"

    (tmp_path / "voice.wav").write_bytes(b"another voice")
    ledger.remember_inputs([KnownInput(sha256=voice.sha256, location=str(moved))])

    assert prepare_rerun(ledger, job, {}).args.voices == (str(moved),)


def test_an_input_of_a_store_is_fetched_from_there(ledger, inputs):
    stored = KnownInput(sha256="1" * 64, location="s3://bucket/voice.wav")

    again = prepare_rerun(ledger, recorded(ledger, [inputs[0], stored]), {})

    assert again.args.voices == ("s3://bucket/voice.wav",)


@pytest.mark.parametrize(
    ("changes", "hint"), [({"request": ""}, ""), ({"kind": "bench"}, "multitalk bench")]
)
def test_what_cannot_be_run_again_is_said(ledger, inputs, changes, hint):
    job = recorded(ledger, inputs)
    ledger.update(job.id, **changes)

    with pytest.raises(UsageError) as caught:
        prepare_rerun(ledger, ledger.get(job.id), {})
    assert caught.value.code == "E_NO_ARGUMENTS"
    assert hint in caught.value.hint


# Money


class Asked(QuietReporter):
    """Answers questions; keeps them and the facts."""

    can_ask = True

    def __init__(self, answer):
        super().__init__()
        self.answer, self.questions, self.facts = answer, [], {}

    def confirm(self, question):
        self.questions.append(question)
        return self.answer

    def fact(self, label, text):
        self.facts[label] = text


def reruns(ledger, inputs, count, **settings):
    names = "abcdefghijklmnopqrstuvwxyz"[:count]
    return [prepare_rerun(ledger, recorded(ledger, inputs, each, **settings), {}) for each in names]


def test_a_few_cents_are_reported_and_each_gets_a_limit(ledger, inputs):
    reporter, (one,) = Asked(False), reruns(ledger, inputs, 1)

    (allowed,) = check_total([one], reporter, assume_yes=False)

    assert reporter.questions == []
    assert reporter.facts["price"].endswith("for 1 video")
    assert one.estimate.price_usd < allowed.settings["max_cost"] < 1.3 * one.estimate.price_usd


def test_more_than_five_dollars_are_asked_once(ledger, inputs):
    many = reruns(ledger, inputs, 12)

    assert len(check_total(many, Asked(True), assume_yes=False)) == 12
    reporter = Asked(False)
    with pytest.raises(RefusedError):
        check_total(many, reporter, assume_yes=False)
    assert len(reporter.questions) == 1
    assert check_total(many, reporter, assume_yes=True)


def test_a_script_names_a_limit_or_agrees(ledger, inputs):
    with pytest.raises(UsageError, match="pass --yes"):
        check_total(reruns(ledger, inputs, 12), QuietReporter(), assume_yes=False)

    limited = reruns(Ledger(ledger.folder / "other.sqlite3"), inputs, 12, max_cost=2)
    allowed = check_total(limited, QuietReporter(), assume_yes=False)
    assert {each.settings["max_cost"] for each in allowed} == {2.0}


def test_what_is_paid_may_cost_nothing_more(ledger, inputs):
    reporter = Asked(False)
    paid = prepare_rerun(ledger, recorded(ledger, inputs, state=jobs_ledger.DONE), {})

    (allowed,) = check_total([paid], reporter, assume_yes=False)

    assert reporter.facts["price"] == "nothing: all of it is paid for"
    assert allowed.settings["max_cost"] == 0.0
