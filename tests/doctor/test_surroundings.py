"""What an account shows of Modal's machines, Volumes and settings, as `doctor --gpu` tells it."""

import pytest

from multitalk_cli.doctor import surroundings
from multitalk_cli.doctor.surroundings import AccountFacts, account_facts, check_all
from multitalk_cli.errors import SetupError
from multitalk_cli.jobs.ledger import FAILED, Job, Ledger

FOUND = {
    "pinned": {"works": True, "register_gb_per_s": 6.0, "copy_gb_per_s": 54.5},
    "segments": {"works": True},
    "volume": {"works": True, "bytes": 64 * 2**20, "write_s": 0.08, "commit_s": 1.31},
    "memory": {"works": True, "kernel": "4.4.0", "peak_bytes": 12_400_000_000},
}
ACCOUNT = AccountFacts(builder="2025.06", default_builder="2026.10", out_of_memory="")


def outcomes(**changes):
    return check_all({"surroundings": {**FOUND, **changes}}, ACCOUNT, 16)


def test_all_that_works_is_one_line_a_subject():
    found = outcomes()

    assert {name: outcome.state for name, outcome in found.items()} == {
        "host": "ok",
        "volume": "ok",
        "modal": "ok",
    }
    assert found["host"].text == (
        "pinned memory works, 54.5 GB/s to the GPU, expandable segments work, at most 12.4 GB of "
        "main memory used, 17.2 GB reserved"
    )
    assert "67.1 MB to a Volume: written in 0.08 s, committed in 1.31 s" in found["volume"].text
    assert found["modal"].text == (
        "image builder 2025.06 (of the workspace: 2026.10), out of memory: not seen yet"
    )


@pytest.mark.parametrize("name", ["pinned", "segments"])
def test_what_does_not_work_is_a_warning_with_the_reason(name):
    found = outcomes(**{name: {"works": False, "reason": "cudaHostRegister returned 801"}})

    assert found["host"].state == "warn"
    assert "does not work (cudaHostRegister returned 801)" in found["host"].text


def test_more_memory_than_is_reserved_is_a_warning():
    found = outcomes(memory={**FOUND["memory"], "peak_bytes": 20_000_000_000})["host"]

    assert found.state == "warn"
    assert "at most 20 GB of main memory used, 17.2 GB reserved" in found.text


def test_without_a_gpu_nothing_is_claimed():
    absent = {"works": None, "reason": "no GPU"}

    found = outcomes(pinned=absent, segments=absent)

    assert found["host"].state == "ok"
    assert found["host"].text.startswith(
        "pinned memory: not tried (no GPU), expandable segments: not tried (no GPU), at most"
    )


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({**FOUND["volume"], "commit_s": 45.0}, "committed in 45.00 s"),
        ({"works": False, "reason": "no space"}, "was not committed: no space"),
    ],
)
def test_a_slow_or_failing_commit_is_a_warning(volume, text):
    found = outcomes(volume=volume)["volume"]

    assert found.state == "warn"
    assert text in found.text


def test_an_app_of_an_earlier_version_tells_nothing_of_its_machine():
    assert set(check_all({}, ACCOUNT, 8)) == {"modal"}


# The account


class Cloud:
    """An account with this record of its deploy, whose settings may not be read."""

    def __init__(self, record):
        self.record = record

    def deployment(self):
        return self.record

    def default_builder(self):
        raise SetupError("not a manager", code="E_TOKEN")


@pytest.mark.parametrize("record", [None, {"client": "0.1.0"}])
def test_what_is_not_known_is_called_so(record):
    facts = account_facts(Cloud(record))

    text = check_all({}, facts, 8)["modal"].text
    assert text == "image builder unknown (of the workspace: unknown), out of memory: not seen yet"


def test_modal_s_words_of_an_earlier_job_are_repeated():
    ledger = Ledger()
    texts = ["the memory is too small for 896x448: CUDA out of memory", "Container killed: OOM", ""]
    for number, text in enumerate(texts):
        ended = {"state": FAILED, "error": "E_OUT_OF_MEMORY", "error_text": text}
        job = Job(
            id=f"{number}aaaaaaa{number}", fingerprint="", app="multitalk", environment="",
            stack="current", gpu="h100", seed=0, target="", label="", recipe="{}", **ended,
        )  # fmt: skip
        ledger.add(job)

    facts = account_facts(Cloud({"builder": "2025.06"}))

    assert facts.out_of_memory == "Container killed: OOM (job 1aaaaaaa)"
    assert facts.builder == "2025.06"


def test_without_a_ledger_nothing_was_seen(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    assert surroundings.account_facts(Cloud({})).out_of_memory == ""
