"""`doctor --gpu`: one container with a card is started, examined, and let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.call_result import await_answer, raise_failure
from multitalk_cli.doctor.check import Check, CheckResult, Outcome, begin, to_result
from multitalk_cli.errors import MultitalkError, error_from_code
from multitalk_cli.planning import cost, gpus, rates, windows
from multitalk_cli.reporting.formatting import human_bytes, human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

GROUP = "gpu"
_LONGEST_S = 1800.0
# Of the container's canary: the example voice at 24 frames a second, in few steps.
_CANARY_FRAMES, _CANARY_STEPS, _CANARY_PX = 75, 4, (896, 448)
_SLOW_BYTES_PER_S = 500e6
_SLOWER_THAN_TABLE = 1.5
_SOUND_DIFFERENCE, _SOUND_S = 0.02, 120.0
_HOPPER = "9."
_REASON_CHARACTERS = 50


def question(chosen: Settings) -> str:
    """What will be done, and roughly what it costs."""
    estimate = cost.estimate_cost(_canary_plan(_CANARY_STEPS), rates.load(), _card(chosen))
    about = f"about {human_duration(estimate.seconds)}, {human_money(estimate.price_usd)}"
    what = "starts a container, reads the weights and makes a short video"
    return f"{_card(chosen)}: {what}, {about}"


def _card(chosen: Settings) -> str:
    return gpus.find_gpu(chosen["gpu"]).name


def _canary_plan(steps: int) -> windows.Plan:
    return windows.make_plan(
        _CANARY_FRAMES,
        contract.DEFAULT_FPS,
        size=_CANARY_PX,
        sample_steps=steps,
        text_guidance=5.0,
        persons=1,
    )


def examine(
    cloud: Cloud, chosen: Settings, reporter: Reporter
) -> tuple[list[CheckResult], dict[str, Any]]:
    """What the container was seen to be and do, and the same as the container said it."""
    wire = {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "prompt": "A person talks to the camera",
        "negative_prompt": chosen["negative_prompt"],
    }
    # Seconds of a processor, which are not paid with a card.
    sound = begin(
        Check(
            name="sound",
            group=GROUP,
            take=lambda: _sound(cloud, wire),
            limit_s=_SOUND_S,
            late="skip",
        )
    )
    try:
        answer = _asked(cloud, chosen, wire, reporter)
    except MultitalkError as error:
        text = Outcome(text=error.message, state="fail", remedy=error.hint, code=error.code)
        return [to_result("container", GROUP, text)], {}
    looks = {
        "card": _machine(answer),
        "attention": _attention(answer, chosen["stack"]),
        "load": _load(answer),
        "canary": _canary(answer),
    }
    speed, measured = _speed(answer, _card(chosen))
    looks |= {} if speed is None else {"speed": speed}
    checks = [to_result(name, GROUP, seen) for name, seen in looks.items()]
    return [*checks, sound.result()], {**answer, **measured}


def _asked(
    cloud: Cloud, chosen: Settings, wire: Mapping[str, Any], reporter: Reporter
) -> Mapping[str, Any]:
    """The container's answer. Whatever ends the waiting ends the call."""

    def spawn() -> str:
        return cloud.spawn_examination(chosen["stack"], chosen["gpu"], wire)

    with reporter.progress() as progress:
        stage = contract.Stage(name="examining")
        return await_answer(
            cloud, spawn, lambda: progress.show(stage), reporter, longest_s=_LONGEST_S
        )


def _machine(answer: Mapping[str, Any]) -> Outcome:
    """Which card, what it can, and its memory."""
    torch = f"torch {answer['torch']}"
    if answer["gpu"] == "cpu":
        return Outcome(text=f"cpu, {torch}")
    free, total = human_bytes(answer["free_bytes"]), human_bytes(answer["total_bytes"])
    capability = f"compute capability {answer['capability']}"
    text = f"{answer['gpu']}, {capability}, CUDA {answer['cuda']}, {torch}, {free} of {total} free"
    if answer["bf16"]:
        return Outcome(text=text)
    text += "; it has no bf16, which costs time and exactness"
    return Outcome(text=text, state="warn", remedy="multitalk config set gpu auto")


def _attention(answer: Mapping[str, Any], stack: str) -> Outcome:
    """Which kernel was chosen, which others run, and why the preferred ones do not."""
    chosen, backends = answer["attention"], dict(answer["backends"])
    before = list(backends)[: list(backends).index(chosen)] if chosen in backends else []
    refused = [f"{name}: {_shortened(backends[name])}" for name in before if backends[name]]
    runs = [name for name, reason in backends.items() if not reason and name != chosen]
    text = f"attention {chosen}"
    text += f", {', '.join(runs)} run too" if runs else ""
    text += f" (not {'; not '.join(refused)})" if refused else ""
    is_hopper = str(answer.get("capability", "")).startswith(_HOPPER)
    if is_hopper and stack == gpus.DEFAULT_STACK and before:
        text += "; videos are the same, and take longer"
        return Outcome(text=text, state="warn", code="E_ATTENTION")
    return Outcome(text=text)


def _shortened(reason: str) -> str:
    """Libraries give their reasons at length."""
    return reason if len(reason) <= _REASON_CHARACTERS else f"{reason[: _REASON_CHARACTERS - 3]}..."


def _load(answer: Mapping[str, Any]) -> Outcome:
    """How fast the weights came to the card."""
    count, seconds = answer["load_bytes"], answer["load_s"]
    if not count:
        return Outcome(text="weights were loaded already", state="skip")
    rate = count / max(seconds, 1e-3)
    text = f"{human_bytes(count)} of weights in {human_duration(seconds)}, {rate / 1e9:.2g} GB/s"
    is_slow = rate < _SLOW_BYTES_PER_S and answer["gpu"] != "cpu"
    return Outcome(text=text, state="warn" if is_slow else "ok")


def _sound(cloud: Cloud, wire: Mapping[str, Any]) -> Outcome:
    """Our decoding and resampling beside librosa's, in a container without a card."""
    found = cloud.call(contract.SOUND_FUNCTION, wire)
    raise_failure(found)
    if found["difference"] is None:
        return Outcome(text=f"no comparison with librosa: {found['reason']}", state="skip")
    share = f"{100 * found['difference']:.2g} %"
    text = f"sound differs from librosa {found['version']} by {share}"
    is_right = found["difference"] <= _SOUND_DIFFERENCE
    return Outcome(text=text, state="ok" if is_right else "warn")


def _canary(answer: Mapping[str, Any]) -> Outcome:
    """Whether a short video passed the guards: no black, no frozen, no not-a-number frames."""
    canary = answer["canary"]
    told = canary["event"]
    event = None if told is None else contract.event_from_wire(told)
    if isinstance(event, contract.Failed):
        error = error_from_code(event.code, event.message, event.hint)
        return Outcome(text=error.message, state="fail", remedy=error.hint, code=error.code)
    if not isinstance(event, contract.Done):
        return Outcome(text="the canary has no end", state="fail", remedy="multitalk doctor --gpu")
    width, height = canary["size"]
    seconds = f"{canary['duration_s']:.1f} s at {width}x{height} in {canary['steps']} steps"
    return Outcome(text=f"canary of {seconds}, made in {human_duration(canary['total_s'])}")


def _speed(answer: Mapping[str, Any], asked: str) -> tuple[Outcome | None, dict[str, Any]]:
    """Seconds and price of a second of video at 20 steps, and whether the table says so too."""
    per_s = answer["canary"].get("s_per_video_s")
    if per_s is None:
        return None, {}
    card = gpus.gpu_from_device(answer["gpu"], asked)
    usd = cost.price_of(card, per_s)
    where = "cpu" if answer["gpu"] == "cpu" else card
    text = f"{per_s:.1f} s and {human_money(usd)} for a second of video at 20 steps ({where})"
    measured = {"s_per_video_s": per_s, "usd_per_video_s": usd}
    if answer["gpu"] == "cpu":
        return Outcome(text=text), measured
    whole = _canary_plan(20)
    expected = cost.estimate_cost(whole, rates.load(), card).seconds_run / whole.duration_s
    if per_s > _SLOWER_THAN_TABLE * expected:
        text += f"; {expected:.1f} s were expected"
        return Outcome(text=text, state="warn", remedy="multitalk doctor --gpu"), measured
    return Outcome(text=text), measured
