"""Frequent problems: each is caused here, recognised by its code, and mended by its remedy."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from multitalk_cli import contract
from multitalk_cli.errors import CODES
from multitalk_cli.planning.presets import Denoising
from multitalk_cli.planning.windows import make_plan
from remote.engine.kernels import attention
from remote.weights import model as weights_model
from tests.documents.codes import ERRORS, TROUBLES
from tests.remote.requests import tiny_request, write_tiny_pack
from tests.remote.worker.test_generate import States, wire, worker_at

pytestmark = pytest.mark.slow

SMALL = ("--size", "32x32", "--steps", "10", "--text-guidance", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def weights(golden_dir, tmp_path_factory):
    return write_tiny_pack(golden_dir, tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def make(cli, weights, portrait, speech):
    """Makes a small video here with the model: `make("--size", "64x32")` gives a Ran."""
    talk = speech("talk.wav", 0.5)

    def call(*options, image=portrait, voice=talk):
        inputs = (image,) if "--speaker" in options else (image, voice)
        given = ("--backend", "local", "--weights", weights, *SMALL, *options)
        return cli("generate", *inputs, *given, "--json")

    return call


@pytest.fixture
def recognised(cli):
    """Whether a command failed with this code, which the tool explains as its table does."""

    def check(ran, code):
        assert (ran.code, ran.error["code"]) == (int(CODES[code].exit_code), code), ran.stderr
        assert cli("explain", code).stdout.splitlines()[-1] == CODES[code].remedy
        assert code in {each for codes in TROUBLES.values() for each in codes}
        assert f"| `{code}` |" in ERRORS.read_text(encoding="utf-8")
        return ran.error

    return check


# Attention


def test_no_attention_runs(make, recognised, monkeypatch):
    def broken():
        raise ImportError("libcudart.so.13: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.setitem(attention.LOADERS, "sdpa", broken)
        error = recognised(make(), "E_ATTENTION")

    assert "libcudart" in error["message"]
    assert make().code == 0


def test_an_attention_that_computes_wrongly_is_not_taken(make, recognised, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(attention.LOADERS, "sdpa", lambda: lambda q, _k, _v: q * 0)
        error = recognised(make(), "E_ATTENTION")

    assert "error 1.0e+00 is above" in error["message"]
    assert make().code == 0


# Pictures


def test_a_picture_that_is_too_small(make, recognised, portrait, folder):
    from PIL import Image

    with Image.open(portrait) as whole:
        for side in (40, 64):
            whole.resize((side, side)).save(folder / f"{side}.png")
    recognised(make(image="40.png"), "E_IMAGE_SIZE")
    assert "64 pixels" in CODES["E_IMAGE_SIZE"].remedy

    assert make(image="64.png").code == 0


def test_a_size_that_the_model_cannot_make(make, recognised):
    error = recognised(make("--size", "50x32"), "E_RANGE")
    sizes = re.findall(r"\d+x\d+", error["message"] + error["hint"])

    proposed = [size for size in sizes if size != "50x32"]
    assert proposed
    assert make("--size", proposed[0]).code == 0


# Frames


@pytest.mark.parametrize("frames", range(9, 14))
def test_speech_of_any_length_is_planned_in_4n_plus_1_frames(frames):
    plan = make_plan(frames, 24, size=(32, 32), persons=1, denoising=Denoising(sample_steps=10))

    assert all(window.frames % 4 == 1 for window in plan.windows)
    assert (plan.frames, plan.dropped_frames) == (frames, -(frames - 1) % 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"windows": [{"start": 0, "frames": 12}]}, "4n+1 from 5 to 201, not 12"),
        ({"motion_frames": 4}, "4n+1, not 4"),
        ({"width_px": 50}, "multiple of 16"),
    ],
)
def test_a_request_that_breaks_the_rules_is_refused_as_data(tmp_path, changes, said):
    request = contract.to_wire(tiny_request(windows=1))
    body = worker_at(tmp_path, States())

    refused = body.generate(wire(request={**request, **changes}), "fc-1")["event"]

    assert (refused["code"], said in refused["message"]) == ("E_REQUEST", True)
    assert "E_REQUEST" in TROUBLES["frames"]
    # With this client's own request the same container continues, up to the weights that it lacks.
    mended = body.generate(wire(request=request), "fc-1")["event"]
    assert mended["code"] == "E_WEIGHTS"


# Speech


@pytest.mark.parametrize("seconds", [0.1, 1801])
def test_speech_too_short_or_too_long(make, recognised, speech, seconds):
    error = recognised(make(voice=speech("odd.wav", seconds)), "E_AUDIO_LENGTH")

    assert "0.2" in error["message"] + error["hint"] + CODES["E_AUDIO_LENGTH"].cause
    assert make(voice=speech("good.wav", 0.3)).code == 0


# Memory


def test_memory_is_saved_by_a_smaller_size_and_not_by_fewer_steps(make, recognised, monkeypatch):
    render = weights_model.PackedModel.render

    def limited(model, request, resume):
        if request.width_px > 32:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return render(model, request, resume)

    monkeypatch.setattr(weights_model.PackedModel, "render", limited)
    error = recognised(make("--size", "64x32"), "E_OUT_OF_MEMORY")
    assert "smaller --size" in error["hint"]
    assert "steps" not in error["hint"] + CODES["E_OUT_OF_MEMORY"].remedy

    recognised(make("--size", "64x32", "--steps", "10"), "E_OUT_OF_MEMORY")
    assert make("--size", "32x32").code == 0


# Boxes


@pytest.mark.parametrize("box", ["box:90%,90%,80%,95%", "box:0%,0%,0.1%,0.1%", "box:1,2,3"])
def test_a_box_that_is_none(make, recognised, cli, portrait, speech, box):
    voice = speech("talk.wav", 0.5)
    recognised(make("--speaker", f"{box}={voice}"), "E_SPEAKER")
    remedy = CODES["E_SPEAKER"].remedy.replace("IMAGE", str(portrait)).replace("VOICE", str(voice))
    words = shlex.split(remedy)
    words = words[1 : words.index("--plan") + 1]

    planned = cli(*words, "--json")

    assert planned.code == 0
    assert Path(planned.json["data"]["picture"]).is_file()
    assert make("--speaker", f"face:1={voice}", "--size", "64x32").code == 0


def test_every_trouble_is_in_the_table():
    assert all(code in CODES for codes in TROUBLES.values() for code in codes)
