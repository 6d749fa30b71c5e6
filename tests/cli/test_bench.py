"""`multitalk bench` before anything is asked of the account."""

import pytest


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        ([], 2, "E_USAGE"),
        (["--steps", "11"], 2, "E_RANGE"),
        (["--steps", "few"], 2, "E_USAGE"),
        (["--size", "auto"], 2, "E_RANGE"),
        (["--size", "100x448"], 2, "E_RANGE"),
        (["--persons", "3"], 2, "E_RANGE"),
        (["--gpu", "rtx"], 2, "E_RANGE"),
        (["--gpu", "t4", "--size", "2048x2048"], 8, "E_GPU_TOO_SMALL"),
        (["--gpu", "b200", "--stack", "cuda12.1"], 8, "E_GPU_STACK"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, words, exit_code, code):
    ran = cli("bench", *words, "--json")

    assert (ran.code, ran.error["code"]) == (exit_code, code)


def test_a_script_is_told_the_price_and_the_option(cli):
    ran = cli("bench", "--gpu", "l40s")

    assert ran.code == 2
    assert "l40s: starts a container, reads the weights and measures, up to " in ran.stderr
    assert "next:  multitalk bench --gpu l40s --yes" in ran.stderr


def test_without_a_token_nothing_is_asked(cli, monkeypatch):
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)

    ran = cli("bench", "--yes", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_NO_TOKEN")
