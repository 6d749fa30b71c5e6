"""`doctor --model`: what is made of the answers of its containers."""

import pytest

from multitalk_cli import settings
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.doctor import model
from multitalk_cli.errors import RemoteError

VERSIONS = {"transformers": "5.24.0", "diffusers": "0.42.1", "librosa": "0.11.0"}
LIBRARIES = "transformers 5.24.0, diffusers 0.42.1, librosa 0.11.0"
MACHINE = {"gpu": "NVIDIA H100 80GB HBM3", "type": "bfloat16", "attention": "fa3"}
SAME = ProofRow(
    part="umT5", limit=1e-3, ours=0.2, reference=0.2, difference=2e-6, is_within=True, note="x"
)
ABSENT = ProofRow(part="attention fa2", limit=0.02, note="not installed")
OTHER = ProofRow(
    part="tokenizer", limit=0.0, ours=70.0, reference=70.0, difference=3.0, is_within=False
)
NO_NUMBER = ProofRow(part="one step, 1 voice", limit=0.05, reference=1.2, is_within=False)


def answer(facts, *rows):
    return lambda: {"facts": facts, "rows": [to_plain(row) for row in rows]}


def run(encoders, step):
    checks, proof = model.run_parts({model.ENCODERS: encoders, model.STEP: step})
    return {check.name: check.outcome for check in checks}, proof


def test_what_agrees_is_counted_and_what_did_not_run_is_not():
    outcomes, proof = run(answer(VERSIONS, SAME), answer(MACHINE, SAME, ABSENT))

    assert [each.state for each in outcomes.values()] == ["ok", "ok"]
    assert outcomes["encoders"].text == f"1 part compared with {LIBRARIES}"
    assert outcomes["step"].text == (
        "1 part compared with float32 (NVIDIA H100 80GB HBM3, bfloat16, attention fa3)"
    )
    assert proof.rows == (SAME, SAME, ABSENT)
    assert proof.facts == {"encoders": VERSIONS, "step": MACHINE}


def test_a_part_outside_is_named_with_its_figures_and_the_command_for_a_report():
    outcomes, _ = run(answer(VERSIONS, SAME, OTHER), answer(MACHINE, NO_NUMBER))

    assert {each.state for each in outcomes.values()} == {"fail"}
    assert {each.code for each in outcomes.values()} == {"E_MODEL_DIFFERS"}
    assert outcomes["encoders"].text == (f"tokenizer differs by 3 (limit 0) from {LIBRARIES}")
    assert outcomes["step"].text.startswith("one step, 1 voice differs by nan (limit 0.05) from ")
    assert outcomes["step"].remedy == "multitalk doctor --model --report report.md"


@pytest.mark.parametrize(
    ("code", "remedy"), [("E_OUT_OF_MEMORY", ""), ("E_DEPLOY", "multitalk doctor --model --debug")]
)
def test_a_container_that_fails_leaves_the_other(code, remedy):
    def fail():
        raise RemoteError("no", code=code)

    outcomes, proof = run(fail, answer(MACHINE, SAME))

    assert (outcomes["encoders"].state, outcomes["encoders"].code) == ("fail", code)
    assert outcomes["encoders"].remedy == remedy
    assert outcomes["step"].state == "ok"
    assert (proof.rows, [*proof.facts]) == ((SAME,), ["step"])


@pytest.mark.parametrize("gpu", ["auto", "t4"])
def test_the_question_names_gpu_time_and_price(monkeypatch, gpu):
    monkeypatch.setenv("MULTITALK_GPU", gpu)

    question = model.question(settings.load_settings())

    assert question.startswith("h100: " if gpu == "auto" else "t4: ")
    assert "min" in question and question.count("$0.") == 2
