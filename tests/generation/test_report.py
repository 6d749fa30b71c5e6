"""The report of the inputs."""

import pytest

from multitalk_cli.generation.report import report_inputs
from multitalk_cli.planning.inputs import GenerateOptions, GenerateSpec, InputRef
from multitalk_cli.planning.summary import PictureFacts, Summary
from multitalk_cli.reporting.reporter import QuietReporter
from tests.planning.plans import plan_of

OPTIONS = GenerateOptions(
    size="auto", fit="cover", background="white", fps=24, order="sequence", sample_steps=20,
    text_guidance=5.0, audio_guidance=4.0, shift=None, loudness=True, prompt="", negative_prompt="",
    embed_prompt=False, seed=0, seed_drawn=False,
)  # fmt: skip
BOX = (0.0, 0.0, 9.0, 9.0)


class Facts(QuietReporter):
    """Keeps the facts."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def fact(self, label, text, *, wraps=True):  # noqa: ARG002 (the reporter's signature)
        self.found[label] = text


@pytest.mark.parametrize(
    ("visible", "outside", "words"),
    [
        (0, 0, "no face found"),
        (1, 0, "1 face found"),
        (2, 1, "3 faces found, 2 in the frame"),
        (0, 1, "1 face found, none in the frame"),
    ],
)
def test_faces_of_the_picture_are_told_from_those_of_the_frame(visible, outside, words):
    summary = Summary(
        picture=PictureFacts(text="a.png", name="a.png", sha256="0", width_px=896, height_px=448),
        voices=(), people=(), crop=(), faces=(BOX,) * visible, plan=plan_of(3), shift=7.0,
        adjusted=(), warnings=(), faces_outside=outside,
    )  # fmt: skip
    facts = Facts()

    report_inputs(
        GenerateSpec(image=InputRef(text="a.png"), voices=(), options=OPTIONS), 0, summary, facts
    )

    assert facts.found["a.png"] == f"896x448, {words}"
