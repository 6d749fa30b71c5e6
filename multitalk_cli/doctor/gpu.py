"""`doctor --gpu`: the checks of one container with a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.call_result import as_answer, read_event, to_error
from multitalk_cli.doctor import surroundings
from multitalk_cli.doctor.check import Check, CheckResult, Outcome, start
from multitalk_cli.doctor.container import call_container
from multitalk_cli.errors import MultitalkError
from multitalk_cli.planning import containers, cost, gpus, rates, windows
from multitalk_cli.planning.describe import price_range, time_range
from multitalk_cli.planning.presets import Denoising
from multitalk_cli.reporting.formatting import human_bytes, human_duration, human_rate

if TYPE_CHECKING:
    from concurrent.futures import Future

    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

GROUP = "gpu"
# The container's test video: the example voice at 24 frames a second, in few steps.
_CANARY_FRAMES, _CANARY_STEPS, _CANARY_PX = 75, 4, (896, 448)
_SLOW_BYTES_PER_S = 500e6
_SLOWER_THAN_TABLE = 1.5
_SOUND_DIFFERENCE, _SOUND_S = 0.02, 120.0
_HOPPER = "9."
_LEAST_DRIVERS = {"12": 525, "13": 580}
"""CUDA's major version -> the oldest driver that runs it."""


def question(chosen: Settings) -> str:
    """The work of `examine`, and an estimate of its time and price."""
    gpu = gpus.find_gpu(chosen["gpu"]).name
    asked = cost.Setup(stack=chosen["stack"])
    estimate = cost.estimate_cost(_canary_plan(_CANARY_STEPS), rates.load(), gpu, asked=asked)
    about = f"{time_range(estimate)}, {price_range(estimate)}"
    return f"{gpu}: starts a container, loads the weights and generates a test video, {about}"


def _canary_plan(steps: int) -> windows.Plan:
    return windows.make_plan(
        _CANARY_FRAMES,
        contract.DEFAULT_FPS,
        size=_CANARY_PX,
        persons=1,
        denoising=Denoising(sample_steps=steps),
    )


def examine(
    cloud: Cloud, chosen: Settings, reporter: Reporter
) -> tuple[list[CheckResult], dict[str, Any]]:
    """The checks of a container with a GPU, and its answer with what follows from it."""
    wire = {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "prompt": "A person talks to the camera",
        "negative_prompt": chosen["negative_prompt"],
    }
    gpu, stack = chosen["gpu"], chosen["stack"]
    # Before a GPU is paid for.
    account = surroundings.account_facts(cloud)
    # Runs without a GPU, at the same time.
    sound = start(
        Check(
            name="sound",
            group=GROUP,
            run=lambda: _check_sound(cloud, wire),
            limit_s=_SOUND_S,
            state_if_late="skip",
        )
    )
    try:
        answer = call_container(
            cloud,
            lambda job: cloud.spawn_examination(stack, gpu, {**wire, "job": job}),
            reporter,
            option="--gpu",
            stage="examining",
            gpu=gpu,
            stack=stack,
            run_s=_run_s,
        )
    except MultitalkError as error:
        failed = Outcome.from_error(error)
        return [CheckResult(name="container", group=GROUP, outcome=failed)], {}
    outcomes = {
        "card": _check_device(answer),
        "attention": _check_attention(answer, stack),
        "load": _check_loading(answer),
        "canary": _check_canary(answer),
        **surroundings.check_all(answer, account, containers.reserved_gib(gpu)),
    }
    speed, measured = _check_speed(answer, gpu, stack)
    outcomes |= {} if speed is None else {"speed": speed}
    checks = [CheckResult(name=name, group=GROUP, outcome=seen) for name, seen in outcomes.items()]
    checks.append(_await_sound(sound, reporter))
    return checks, {**answer, **measured, "account": asdict(account)}


def _await_sound(sound: Future[CheckResult], reporter: Reporter) -> CheckResult:
    """The comparison's result; importing librosa may take it longer than the GPU's work."""
    if not sound.done():
        with reporter.progress() as progress:
            progress.show(contract.Stage(name="comparing sound"))
            sound.result()
    return sound.result()


def _run_s(answer: Mapping[str, Any]) -> float:
    """Seconds of the work; apps of older versions report nothing on the way."""
    return float(answer["load_s"]) + float(answer["canary"].get("total_s", 0.0))


def _check_device(answer: Mapping[str, Any]) -> Outcome:
    """The GPU, its compute capability and its memory."""
    torch = f"torch {answer['torch']}"
    driver, cuda = str(answer.get("driver") or ""), str(answer.get("cuda") or "")
    least = _LEAST_DRIVERS.get(cuda.partition(".")[0], 0)
    major = driver.partition(".")[0]
    if major.isdecimal() and int(major) < least:
        text = f"driver too old: {driver}, CUDA {cuda} needs {least} or newer ({torch})"
        return Outcome(text=text, state="fail", remedy="multitalk doctor --gpu")
    if answer["gpu"] == "cpu":
        return Outcome(text=f"cpu, {torch}")
    free, total = human_bytes(answer["free_bytes"]), human_bytes(answer["total_bytes"])
    capability = f"compute capability {answer['capability']}"
    text = f"{answer['gpu']}, {capability}, CUDA {answer['cuda']}, {torch}, {free} of {total} free"
    if answer["bf16"]:
        return Outcome(text=text)
    text += "; no bf16: slower and less exact"
    return Outcome(text=text, state="warn", remedy="multitalk config set gpu auto")


def _check_attention(answer: Mapping[str, Any], stack: str) -> Outcome:
    """The chosen attention kernel and why, and the others that run."""
    chosen, backends = answer["attention"], dict(answer["backends"])
    before = list(backends)[: list(backends).index(chosen)] if chosen in backends else []
    runs = [name for name, reason in backends.items() if not reason and name != chosen]
    text = f"attention {chosen}"
    # An app of an earlier version does not tell.
    text += f" ({answer['attention_reason']})" if answer.get("attention_reason") else ""
    text += f", {', '.join(runs)} also available" if runs else ""
    is_hopper = str(answer.get("capability", "")).startswith(_HOPPER)
    if is_hopper and stack == gpus.DEFAULT_STACK and before:
        text += "; same videos, slower"
        return Outcome(text=text, state="warn", code="E_ATTENTION")
    return Outcome(text=text)


def _check_loading(answer: Mapping[str, Any]) -> Outcome:
    """The rate at which the weights were loaded to the GPU."""
    count, seconds = answer["load_bytes"], answer["load_s"]
    if not count:
        return Outcome(text="weights already loaded", state="skip")
    rate = count / max(seconds, 1e-3)
    text = f"{human_bytes(count)} of weights in {human_duration(seconds)}, {human_bytes(rate)}/s"
    is_slow = rate < _SLOW_BYTES_PER_S and answer["gpu"] != "cpu"
    return Outcome(text=text, state="warn" if is_slow else "ok")


def _check_sound(cloud: Cloud, wire: Mapping[str, Any]) -> Outcome:
    """Our decoding and resampling against librosa's, in a container without a GPU."""
    found = cloud.call(contract.SOUND_FUNCTION, wire)
    as_answer(found)
    if found["difference"] is None:
        return Outcome(text=f"no comparison with librosa: {found['reason']}", state="skip")
    share = f"{100 * found['difference']:.2g} %"
    text = f"sound differs from librosa {found['version']} by {share}"
    is_right = found["difference"] <= _SOUND_DIFFERENCE
    return Outcome(text=text, state="ok" if is_right else "warn")


def _check_canary(answer: Mapping[str, Any]) -> Outcome:
    """Whether a test video was generated without black, frozen or NaN frames."""
    canary = answer["canary"]
    told = canary["event"]
    event = None if told is None else read_event(told)
    if isinstance(event, contract.Failed):
        return Outcome.from_error(to_error(event))
    if not isinstance(event, contract.Done):
        text = "the test video was not finished"
        return Outcome(text=text, state="fail", remedy="multitalk doctor --gpu")
    width, height = canary["size"]
    seconds = f"{canary['duration_s']:.1f} s at {width}x{height} in {canary['steps']} steps"
    made = human_duration(canary["total_s"])
    return Outcome(text=f"test video of {seconds}, generated in {made}")


def _check_speed(
    answer: Mapping[str, Any], named: str, stack: str
) -> tuple[Outcome | None, dict[str, Any]]:
    """Time and price of a second of video at 20 steps, compared with the table of rates.

    named: the GPU in the settings, whose price is paid whatever the device is.
    """
    per_s = answer["canary"].get("s_per_video_s")
    if per_s is None:
        return None, {}
    gpu = gpus.gpu_from_device(answer["gpu"], named)
    usd = cost.price_of(gpus.paid_gpu(answer["gpu"], named), per_s)
    where = "cpu" if answer["gpu"] == "cpu" else gpu
    text = f"{per_s:.1f} s and {human_rate(usd)} for a second of video at 20 steps ({where})"
    measured = {"s_per_video_s": per_s, "usd_per_video_s": usd}
    if answer["gpu"] == "cpu":
        return Outcome(text=text), measured
    whole, asked = _canary_plan(20), cost.Setup(stack=stack)
    estimate = cost.estimate_cost(whole, rates.load(), gpu, asked=asked)
    expected = estimate.seconds_run / whole.duration_s
    if per_s > _SLOWER_THAN_TABLE * expected:
        text += f"; expected {expected:.1f} s"
        return Outcome(text=text, state="warn", remedy="multitalk doctor --gpu"), measured
    return Outcome(text=text), measured
