"""Doctor's checks of a container's answer: GPUs with and without the fast kernels."""

import pytest

from multitalk_cli import contract, settings
from multitalk_cli.cli.views import doctor as view
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.doctor import gpu
from multitalk_cli.doctor.report import make_report
from multitalk_cli.jobs.ledger import Ledger

HOPPER = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "capability": "9.0",
    "cuda": "13.0",
    "torch": "2.11.0",
    "bf16": True,
    "free_bytes": 80e9,
    "total_bytes": 85e9,
    "attention": "fa3",
    "attention_reason": "preferred",
    "backends": {"fa3": "", "sdpa-cudnn": "", "sdpa": ""},
    "load_bytes": 39_900_000_000,
    "load_s": 17.0,
}
SAME_SOUND = {"difference": 2e-4, "version": "0.11.0"}
T4 = {
    **HOPPER,
    "gpu": "Tesla T4",
    "capability": "7.5",
    "bf16": False,
    "attention": "sdpa",
    "attention_reason": "fa3: no kernel image is available",
    "backends": {"fa3": "no kernel image is available", "sdpa": ""},
}


def result():
    """How a canary ends well."""
    made = contract.Result(
        job_id="canarycanary",
        backend="modal",
        model_output=True,
        frames=75,
        fps=24,
        width_px=896,
        height_px=448,
        size_bytes=1,
        seed=7,
        recipe="{}",
    )
    return contract.to_wire(contract.Done(result=made))


CANARY = {
    "event": result(),
    "size": [896, 448],
    "frames": 75,
    "duration_s": 3.125,
    "steps": 4,
    "step_s": 7.2,
    "around_s": 3.0,
    "total_s": 40.0,
    "s_per_video_s": 47.0,
}


class Cloud:
    """Answers with what a container would say, at once."""

    place = AppRef(app="multitalk", environment="")

    def __init__(self, answer, sound):
        self.answer, self.sound = answer, sound
        self.cancelled, self.job = [], ""

    def spawn_examination(self, _stack, _gpu, wire):
        assert wire["contract"] == contract.CONTRACT_VERSION
        self.job = wire["job"]
        return "fc-1"

    def deployment(self):
        return {"builder": "2025.06"}

    def default_builder(self):
        return "2026.10"

    def state(self, job_id):
        """What the container reported; an old one nothing."""
        assert job_id == self.job
        return None if "load_s" not in self.answer else {"run_s": 50.0}

    def call(self, function, _wire):
        assert function == contract.SOUND_FUNCTION
        return self.sound

    def poll(self, _call_id, _timeout_s):
        from multitalk_cli.cloud.client import CallStatus

        return CallStatus(outcome="answer", answer=self.answer)

    def cancel_call(self, call_id):
        self.cancelled.append(call_id)


@pytest.fixture
def examine():
    """Gives the checks of an answer by their names, and what was measured."""
    from multitalk_cli.cli.console import Console, OutputOptions

    def call(answer, sound=SAME_SOUND, **given):
        cloud = Cloud(answer, sound)
        output = Console(OutputOptions(quiet=True))
        checks, measured = gpu.examine(cloud, settings.load_settings(given), output)
        assert cloud.cancelled == []
        (paid,) = Ledger().newest(1)
        assert (paid.kind, paid.id, paid.call_id) == ("doctor", cloud.job, "fc-1")
        is_done = "load_s" in answer
        assert (paid.state, paid.gpu_seconds) == (
            "done" if is_done else "failed",
            50.0 if is_done else None,
        )
        return {check.name: check for check in checks}, measured

    return call


def test_a_card_with_everything(examine):
    checks, measured = examine({**HOPPER, "canary": CANARY})

    assert {check.state for check in checks.values()} == {"ok"}
    assert "compute capability 9.0, CUDA 13.0, torch 2.11.0, 80 GB of 85 GB free" in (
        checks["card"].text
    )
    assert checks["load"].text == "39.9 GB of weights in 17 s, 2.3 GB/s"
    assert "differs from librosa 0.11.0 by 0.02 %" in checks["sound"].text
    assert checks["speed"].text == "47.0 s and $0.055 for a second of video at 20 steps (h100)"
    assert measured["usd_per_video_s"] == pytest.approx(47 * 0.001167, rel=0.01)
    assert view.data(make_report(list(checks.values()), measured))["gpu"] == measured


def test_a_t4_has_no_bf16_and_no_flash_attention(examine):
    checks, _ = examine({**T4, "canary": CANARY})

    assert (checks["card"].state, checks["attention"].state) == ("warn", "ok")
    assert "no bf16" in checks["card"].text
    assert "attention sdpa (fa3: no kernel image is available)" in checks["attention"].text


def test_a_fast_card_without_its_kernel_is_warned_of(examine):
    reason = "neither fa3_fwd nor flash_attn_interface is installed"
    backends = {"fa3": reason, "sdpa-cudnn": "", "sdpa": ""}
    why = "fa3: neither fa3_fwd nor flash_attn_interface is..."
    chosen = {"attention": "sdpa-cudnn", "attention_reason": why, "backends": backends}
    answer = {**HOPPER, **chosen, "canary": CANARY}

    checks, _ = examine(answer)

    assert (checks["attention"].state, checks["attention"].code) == ("warn", "E_ATTENTION")
    assert f"attention sdpa-cudnn ({why}), sdpa also available" in checks["attention"].text


def test_the_older_stack_tells_why_its_own_kernels_are_not_used(examine):
    why = "fa2: 61 % slower than sdpa-cudnn; xformers: 63 % slower than sdpa-cudnn"
    backends = {"fa3": "absent", "sdpa-cudnn": "", "xformers": "", "fa2": "", "sdpa": ""}
    chosen = {"attention": "sdpa-cudnn", "attention_reason": why, "backends": backends}

    checks, _ = examine({**HOPPER, **chosen, "canary": CANARY}, stack="cuda12.1")

    assert checks["attention"].state == "ok"
    assert f"attention sdpa-cudnn ({why})" in checks["attention"].text


def test_an_app_of_an_earlier_version_gives_no_reason(examine):
    answer = {name: value for name, value in HOPPER.items() if name != "attention_reason"}

    checks, _ = examine({**answer, "canary": CANARY})

    assert checks["attention"].text.startswith("attention fa3, ")


def test_slow_reading_and_a_slow_card_are_warned_of(examine):
    canary = {**CANARY, "s_per_video_s": 470.0}

    checks, _ = examine({**HOPPER, "load_s": 400.0, "canary": canary})

    assert (checks["load"].state, checks["speed"].state) == ("warn", "warn")
    assert "; expected " in checks["speed"].text


def test_sound_that_differs_is_warned_of(examine):
    other = {"difference": 0.3, "version": "0.11.0"}

    checks, _ = examine({**HOPPER, "canary": CANARY}, other)

    assert checks["sound"].state == "warn"


def test_sound_that_cannot_be_compared_is_left_out(examine):
    absent = {"difference": None, "reason": "No module named 'librosa'"}

    checks, _ = examine({**HOPPER, "canary": CANARY}, absent)

    assert checks["sound"].state == "skip"


@pytest.mark.parametrize("code", ["E_BLACK", "E_FROZEN", "E_NOT_FINITE", "E_OUT_OF_MEMORY"])
def test_a_canary_that_a_guard_ends_is_a_failure(examine, code):
    event = contract.to_wire(contract.Failed(code=code, message="after step 2"))

    checks, measured = examine({**HOPPER, "canary": {"event": event}})

    assert (checks["canary"].state, checks["canary"].code) == ("fail", code)
    assert "speed" not in checks
    assert "usd_per_video_s" not in measured


def test_a_container_that_refuses_is_a_failure(examine):
    event = contract.to_wire(contract.Failed(code="E_WEIGHTS", message="no pack"))

    checks, _ = examine({"event": event})

    assert (checks["container"].code, checks["container"].text) == ("E_WEIGHTS", "no pack")


def test_what_it_costs_comes_from_the_table_of_rates(monkeypatch):
    monkeypatch.setenv("MULTITALK_GPU", "b200")

    question = gpu.question(settings.load_settings())

    assert question.startswith("b200: ")
    assert "$0." in question


@pytest.mark.parametrize(
    ("driver", "cuda", "device", "state"),
    [
        ("570.86.15", "13.0", "NVIDIA H100 80GB HBM3", "fail"),
        ("570.86.15", "13.0", "cpu", "fail"),
        ("580.65.06", "13.0", "NVIDIA H100 80GB HBM3", "ok"),
        ("570.86.15", "12.1", "NVIDIA H100 80GB HBM3", "ok"),
        ("", "13.0", "NVIDIA H100 80GB HBM3", "ok"),
    ],
)
def test_a_driver_that_is_too_old_for_cuda_is_named(driver, cuda, device, state):
    answer = {**HOPPER, "gpu": device, "driver": driver, "cuda": cuda, "canary": CANARY}

    seen = gpu._check_device(answer)

    assert seen.state == state
    assert ("driver too old" in seen.text) is (state == "fail")
