"""The view of `multitalk doctor`."""

import itertools

import pytest

from multitalk_cli.cli.layout import Table
from multitalk_cli.cli.views import doctor as view
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.doctor.check import CheckResult, Outcome
from multitalk_cli.doctor.model import Proof
from multitalk_cli.doctor.report import make_report
from multitalk_cli.errors import SetupError, TemporaryError

GROUPS = {
    "python": "local", "disk": "local", "network": "account", "workspace": "account",
    "app": "deployment", "version": "deployment", "pack": "weights", "huggingface": "storage",
    "aws": "storage", "bucket": "storage",
}  # fmt: skip
SUBJECTS = ["local", "account", "deployment", "weights", "secrets", "storage"]


def report_of(states):
    """A report whose checks have these states; what is not named is well."""
    return make_report(
        [
            CheckResult(
                name=name,
                group=group,
                outcome=Outcome(
                    text=f"{name} text",
                    state=states.get(name, "ok"),
                    remedy="" if states.get(name, "ok") == "ok" else f"multitalk explain {name}",
                ),
            )
            for name, group in GROUPS.items()
        ]
    )


@pytest.mark.parametrize(
    "states",
    [dict(zip(("workspace", "network", "disk", "aws"), each, strict=True))
     for each in itertools.product(("ok", "warn", "fail", "skip"), repeat=4)],
    ids=lambda states: " ".join(states.values()),
)  # fmt: skip
def test_every_subject_has_one_line_with_its_worst_finding(states):
    report = report_of(states)

    table, _, readiness, _ = view.blocks(report, every=False, columns=300)

    assert isinstance(table, Table)
    assert [row.label for row in table.rows] == SUBJECTS
    shown = {row.label: row for row in table.rows}
    order = ("skip", "ok", "warn", "fail")
    worst = max((states["workspace"], states["network"]), key=order.index)
    assert shown["account"].state == worst
    assert shown["account"].text.count("; ") == (
        worst in ("warn", "fail") and states["workspace"] == states["network"]
    )
    missing = {*readiness.text.partition("missing: ")[2].split(", ")} - {""}
    failed = {GROUPS[name] for name, state in states.items() if state == "fail"}
    # A video needs no bucket.
    assert missing == failed - {"storage"}


def test_a_cause_that_several_checks_find_is_shown_once():
    error = SetupError("~/.modal.toml is not valid TOML", code="E_MODAL_CONFIG")
    report = make_report(
        [
            CheckResult(name=name, group="account", outcome=Outcome.from_error(error))
            for name in ("network", "token")
        ]
    )

    table, *_ = view.blocks(report, every=False, columns=300)

    assert [row.text for row in table.rows] == ["~/.modal.toml is not valid TOML"]


def test_offline_the_next_command_is_one_that_works_offline():
    offline = TemporaryError("cannot reach Modal", code="E_NETWORK")
    no_token = SetupError("no Modal token", code="E_NO_TOKEN")
    checks = [
        CheckResult(name="network", group="account", outcome=Outcome.from_error(offline)),
        CheckResult(name="token", group="account", outcome=Outcome.from_error(no_token)),
    ]
    full = Outcome(text="full", state="fail", remedy="free some space")

    assert view.next_step(make_report(checks)) == "multitalk generate IMAGE VOICE --backend preview"
    assert view.next_step(make_report(checks[1:])) == "multitalk login"
    disk = CheckResult(name="disk", group="local", outcome=full)
    assert view.next_step(make_report([disk, *checks])) == "free some space"


def test_the_parts_of_the_model_are_a_table():
    rows = (
        ProofRow(
            part="umT5", limit=1e-3, ours=0.21, reference=0.2, difference=0.05, is_within=False
        ),
        ProofRow(part="attention fa3", limit=0.02, note="not installed"),
        ProofRow(part="one step, 1 voice", limit=0.05, reference=1.2, is_within=False),
    )
    report = make_report(report_of({}).checks, None, Proof(rows=rows, facts={}))

    _, _, table, *_ = view.blocks(report, every=False, columns=80)

    assert table.rows == [
        ("umT5", "0.21", "0.2", "0.05", "0.001", "outside"),
        ("attention fa3", "", "", "", "0.02", "not run"),
        ("one step, 1 voice", "nan", "1.2", "nan", "0.05", "outside"),
    ]
    assert (table.all_styles, table.width <= 80) == (["dim", "red", "dim", "red"], True)
    assert view.data(report)["model"]["rows"][0]["difference"] == 0.05


def test_an_error_has_the_exit_code_of_the_process():
    outcome = Outcome(text="cannot reach Modal", state="fail", remedy="", code="E_NETWORK")
    report = make_report([CheckResult(name="network", group="account", outcome=outcome)])

    (error,) = view.errors(report)

    assert (error["code"], error["exit_code"]) == ("E_NETWORK", 4)
