"""The view of `multitalk doctor`."""

from multitalk_cli.cli.views import doctor as view
from multitalk_cli.doctor.check import CheckResult, Outcome
from multitalk_cli.doctor.report import make_report


def test_an_error_has_the_exit_code_of_the_process():
    outcome = Outcome(text="cannot reach Modal", state="fail", remedy="", code="E_NETWORK")
    report = make_report([CheckResult(name="network", group="account", outcome=outcome)])

    (error,) = view.errors(report)

    assert (error["code"], error["exit_code"]) == ("E_NETWORK", 4)
