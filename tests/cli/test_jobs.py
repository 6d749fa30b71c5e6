"""`multitalk jobs` without an account: what the ledger knows, and what is wrong with the words."""

import time

import pytest

from multitalk_cli.cli.commands.jobs import STATE_HELP
from multitalk_cli.cli.dates import parse_since, shown_time
from multitalk_cli.errors import UsageError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.jobs.states import STATES
from tests.jobs.test_ledger import job_of


@pytest.fixture
def ledger():
    """The user's: a finished, a cancelled and a running job."""
    ledger = Ledger()
    voice = KnownInput(sha256="1" * 64, location="/voices/monday.wav")
    ledger.start(job_of("a" * 16, "a"), inputs=[voice])
    ledger.update("a" * 16, state=jobs_ledger.DONE, fetched_s=1.0, price_usd=0.5)
    ledger.start(job_of("b" * 16, "b"))
    ledger.update("b" * 16, state=jobs_ledger.CANCELLED, price_usd=0.25)
    ledger.start(job_of("c" * 16, "c"))
    ledger.update("c" * 16, state=jobs_ledger.RUNNING, call_id="fc-1", started_s=time.time())
    return ledger


@pytest.mark.usefixtures("ledger")
def test_without_a_token_the_list_says_that_it_is_old(cli):
    ran = cli("jobs", "ls")

    assert ran.code == 0
    assert [line.split()[0] for line in ran.stdout.splitlines()] == [
        "id", "c" * 8, "b" * 8, "a" * 8,
    ]  # fmt: skip
    assert "no Modal token" in ran.stderr
    assert "state that was seen last" in ran.stderr
    assert cli("jobs", "ls", "--json").json["data"]["is_current"] is False


def test_a_list_without_running_jobs_asks_nobody(cli, ledger):
    ledger.update("c" * 16, state=jobs_ledger.FAILED)

    ran = cli("jobs", "ls", "--json")

    assert (ran.code, ran.stderr, ran.json["data"]["is_current"]) == (0, "", True)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--state", "cancelled", "--state", "running"], "cb"),
        (["--state", "file-missing"], "a"),
        (["--search", "MONDAY"], "a"),
        (["--since", "1h"], "cba"),
        (["--since", "2999-01-01"], ""),
        (["--limit", "2"], "cb"),
    ],
)
def test_filters(cli, words, found):
    rows = cli("jobs", "ls", *words, "--json").json["data"]["jobs"]

    assert "".join(row["id"][0] for row in rows) == found


@pytest.mark.usefixtures("ledger")
def test_a_total_is_that_of_all_that_match_whatever_is_shown(cli):
    ran = cli("jobs", "ls", "--total", "--limit", "1")

    assert ran.stdout.splitlines()[-1] == "3 jobs, 0 s of GPU, $0.75"
    assert len(ran.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ls", "--state", "runing"], "multitalk jobs ls --state running"),
        (["ls", "--since", "soon"], "multitalk jobs ls --since 2d"),
        (["prune", "--older-than", "2999-01-01"], "multitalk jobs prune --older-than 90d"),
    ],
)
def test_a_wrong_filter_is_answered_with_a_right_one(cli, words, hint):
    ran = cli("jobs", *words, "--json")

    assert (ran.code, ran.error["code"], ran.error["hint"]) == (2, "E_RANGE", hint)


@pytest.mark.usefixtures("ledger")
def test_a_job_is_shown_without_a_network_unless_it_runs(cli):
    done, running = cli("jobs", "show", "aaaa"), cli("jobs", "show", "cccc", "--json")

    assert "picture     /voices/monday.wav" in done.stdout
    assert "next:  multitalk jobs fetch aaaaaaaa" in done.stderr
    assert (running.code, running.json["data"]["is_current"]) == (0, False)


def test_the_help_names_every_state():
    words = STATE_HELP.rstrip(".").replace(" or ", ", ").split(", ")

    assert words == list(STATES)


# Dates


@pytest.mark.parametrize(
    ("text", "age_s"), [("90m", 5400), ("12h", 43_200), ("2d", 172_800), (" 1W ", 604_800)]
)
def test_ages(text, age_s):
    assert time.time() - parse_since("--since", text) == pytest.approx(age_s, abs=5)


def test_dates_are_local():
    day = time.strptime("2026-11-20 09:30", "%Y-%m-%d %H:%M")

    assert parse_since("--since", "2026-11-20 09:30") == time.mktime(day)
    assert 0 <= time.time() - parse_since("--since", "today") < 86_400 + 3600


@pytest.mark.parametrize("text", ["", "2", "d", "20.11.2026", "2026-13-01", "-2d", "99999999d"])
def test_no_dates(text):
    with pytest.raises(UsageError, match="--since must be an age such as 2d"):
        parse_since("--since", text)


def test_moments_of_today_of_this_year_and_of_another():
    now_s = time.mktime((2026, 11, 20, 14, 30, 0, 0, 0, -1))
    moments = [(2026, 11, 20, 9, 5), (2026, 3, 1, 18, 0), (2025, 12, 31, 23, 59)]

    shown = [shown_time(time.mktime((*each, 0, 0, 0, -1)), now_s) for each in moments]

    assert shown == ["09:05", "1 Mar 18:00", "31 Dec 2025"]
