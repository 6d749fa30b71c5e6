"""The Volume of weights in the user's Modal account, and the containers that work on it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, settings
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef, not_deployed
from multitalk_cli.cloud.pack import DeployedPack, find_pack
from multitalk_cli.cloud.reconnect import Outage
from multitalk_cli.contract import weights_task
from multitalk_cli.contract.weights_task import Precision, WeightsTask
from multitalk_cli.errors import (
    MultitalkError,
    RemoteError,
    SetupError,
    TemporaryError,
    error_from_code,
)
from multitalk_cli.planning import rates
from multitalk_cli.reporting.formatting import human_bytes, human_duration, human_money
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus
    from multitalk_cli.reporting.reporter import Progress, Reporter, StopRequests

POLL_S = 0.5
CONFIRM_S = 30.0
ABOUT_BYTES = 82e9
"""What is published, before anybody has asked the hub."""
ABOUT_PACK_BYTES = 49e9
QUESTION = (
    "d = detach (the download keeps running), c = cancel (what came is kept), Enter = keep watching"
)
_OPEN_HUB = "multitalk setup-secrets --only hf\nmultitalk deploy\nmultitalk download"


class DownloadDetachedError(Exception):
    """The user left; the download goes on."""


class CloudWeights:
    """The Volume, and the deployed functions that work on it."""

    title = f"the Volume {contract.WEIGHTS_VOLUME}"
    packs = weights_task.PACKS_THERE

    def __init__(self, cloud: Cloud, *, leaves: bool = False) -> None:
        """leaves: whether a download is left alone once it runs, with WentAwayError."""
        self._cloud, self._leaves = cloud, leaves

    @classmethod
    def reachable(cls, place: AppRef, *, leaves: bool = False) -> CloudWeights:
        """The Volume of an account that there is a token and a network for."""
        return cls(Cloud.reachable(place), leaves=leaves)

    def command(self, *options: str) -> str:
        """The command for the Volume, with other options."""
        named = self._cloud.place.environment
        where = ["--environment", named] if named else []
        return shlex.join(["multitalk", "download", *where, *options])

    def name(self, file: str) -> str:
        """What a file of the Volume is called."""
        return f"{contract.WEIGHTS_VOLUME}/{file}"

    def next_command(self, pack: str) -> str:
        """What a pack is good for."""
        is_read = pack == contract.PACK_FOLDER
        return "multitalk generate PICTURE VOICE" if is_read else self.command("--list")

    # Before

    def require_deployed(self) -> None:
        """Raises SetupError where nothing was deployed, so that nothing can be there either."""
        if self._cloud.deployment() is None:
            error = not_deployed(self._cloud.place)
            raise SetupError(error.message, code=error.code, hint=self.command())

    def prepare(self, ask: Callable[[str], None], reporter: Reporter, *, is_all: bool) -> bool:
        """Deploys the app where it is not there; tells whether that was asked.

        One question for both: what exactly is fetched, the deployed app finds out.
        """
        from multitalk_cli.cloud.deploy import add_secrets, deploy_app, plan_deploy

        if self._cloud.deployment() is not None:
            return False
        place = self._cloud.place
        chosen = settings.load_settings({})
        planned = add_secrets(plan_deploy(place, (), chosen["gpu"]))
        reporter.fact("app", f"{place.app} is not deployed yet: that comes first")
        if is_all:
            amount = f"about {human_bytes(ABOUT_BYTES)} into {self.title}, packed there"
            reporter.fact("fetch", amount)
            reporter.fact("price", _describe_price(ABOUT_BYTES + ABOUT_PACK_BYTES))
        ask(f"Deploy {place.app}, and fetch the weights?" if is_all else f"Deploy {place.app}?")
        with reporter.redirect_stdout():
            deploy_app(self._cloud, planned, show_build=not reporter.is_quiet)
        return True

    def find_pack(self, precision: Precision) -> DeployedPack | None:
        """The finished pack, looked for from here: no container is asked."""
        try:
            return find_pack(self._cloud, self.packs[precision])
        except SetupError as error:
            if error.code != "E_WEIGHTS_MISSING":
                raise
            return None

    def announce(self, survey: Mapping[str, Any], reporter: Reporter) -> None:
        """Says what space it takes and what the container costs."""
        more = survey["missing_bytes"] + survey["pack_bytes"]
        reporter.fact("space", f"{human_bytes(more)} more in {self.title}")
        reporter.fact("price", _describe_price(more))

    # A download that runs

    def running(self) -> str:
        """The call that brings weights now; empty where none does."""
        call_id = self._cloud.owner(weights_task.CALLS, 0)
        is_running = call_id and self._cloud.poll(call_id, 0.0).outcome == "waiting"
        return call_id if is_running else ""

    def attach(self, precision: Precision, reporter: Reporter) -> Mapping[str, Any] | None:
        """Follows the download that runs, to its end; None where none does."""
        call_id = self.running()
        if not call_id:
            return None
        if self._leaves:
            raise DownloadDetachedError
        reporter.note("a download is running: attached to it")
        return self._follow(WeightsTask(kind="bring", precision=precision), call_id, reporter)

    def stop(self, reporter: Reporter) -> bool:
        """Cancels the download that runs, and waits until its container is free.

        Tells whether there was one.
        """
        call_id = self.running()
        if call_id:
            self._cancel(call_id, reporter, hurry=lambda: False)
        return bool(call_id)

    # Work

    def do(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        """Does a task in a container, and shows how far it is; gives its answer."""
        if task.kind == "bring" and not task.is_repair:
            # Another command may have been quicker since this one looked.
            answer = self.attach(task.precision, reporter)
            if answer is not None and answer["precision"] == task.precision:
                return answer
        elif task.kind in weights_task.WRITING and self.running():
            raise TemporaryError(
                f"a download is writing to {self.title}",
                code="E_DOWNLOAD_RUNS",
                hint=self.command(),
            )
        call_id = self._spawn(task)
        if task.kind == "bring" and self._leaves:
            raise DownloadDetachedError
        return self._follow(task, call_id, reporter)

    def _spawn(self, task: WeightsTask) -> str:
        task = replace(task, endpoint=settings.hub_endpoint())
        is_writing = task.kind in weights_task.WRITING
        function = contract.DOWNLOAD_FUNCTION if is_writing else contract.WEIGHTS_FUNCTION
        call_id = self._cloud.spawn_function(function, contract.to_wire(task))
        if task.kind == "bring":
            self._cloud.note_call(weights_task.CALLS, 0, call_id)
        return call_id

    def _follow(self, task: WeightsTask, call_id: str, reporter: Reporter) -> Mapping[str, Any]:
        outage = Outage(reporter, "the container", self.command())
        watch = _Watch(self._cloud, outage, task, call_id)
        with reporter.stop_requests() as held, reporter.progress() as view:
            while (answer := watch.turn(view)) is None:
                if held.is_pending:
                    self._decide(held, watch, reporter)
                elif watch.is_over:
                    watch.go_on(self._spawn)
        return self._read(answer)

    def _read(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a call gave. Raises the failure that it reports."""
        if "event" not in answer:
            found: Mapping[str, Any] = answer["answer"]
            price_usd = _price_usd(float(answer["run_s"]))
            return {**found, "precision": answer["precision"], "price_usd": price_usd}
        event = contract.event_from_wire(answer["event"])
        if not isinstance(event, contract.Failed):
            raise RemoteError(f"a download ended with {event.kind}", code="E_REMOTE")
        hint = _OPEN_HUB if event.code == "E_HUB_TOKEN" else event.hint
        if event.code == "E_CANCELLED":
            hint = self.command()
        raise error_from_code(event.code, event.message, hint)

    def _decide(self, held: StopRequests, watch: _Watch, reporter: Reporter) -> None:
        """What a request to stop does: the user says, or else the call is cancelled."""
        choice = held.choose(QUESTION if watch.task.kind == "bring" else None)
        if choice == "watch":
            return
        if choice == "detach":
            raise DownloadDetachedError
        self._cancel(watch.call_id, reporter, hurry=lambda: held.is_urgent)
        reporter.leaving = "interrupted; what came so far is kept, the same command goes on"
        raise StoppedError

    def _cancel(self, call_id: str, reporter: Reporter, *, hurry: Callable[[], bool]) -> None:
        self._cloud.cancel(f"{weights_task.CALLS}/{call_id}", call_id)
        end_s = time.monotonic() + CONFIRM_S
        while time.monotonic() < end_s and not hurry():
            if self._cloud.poll(call_id, POLL_S).outcome != "waiting":
                reporter.note("cancelled; what came so far is kept")
                return
        reporter.note("Modal was told to cancel it, and has not confirmed it yet")


class _Watch:
    """One task, followed through as many calls as it takes."""

    def __init__(self, cloud: Cloud, outage: Outage, task: WeightsTask, call_id: str) -> None:
        self._cloud, self._outage = cloud, outage
        self.task, self.call_id = task, call_id
        self._mark, self._mark_before = (0, 0), (0, 0)
        self._end: CallStatus | None = None

    @property
    def is_over(self) -> bool:
        """Whether the call ended without an answer."""
        return self._end is not None

    def turn(self, view: Progress) -> Mapping[str, Any] | None:
        """Looks at the call once, shows what it says, and gives its answer if there is one."""
        try:
            polled = self._cloud.poll(self.call_id, POLL_S)
            if polled.outcome == "answer":
                return polled.answer or {}
            self._show(view)
            self._end = None if polled.outcome == "waiting" else polled
        except TemporaryError as error:
            self._outage.wait(error)
            return None
        self._outage.end()
        return None

    def _show(self, view: Progress) -> None:
        state = self._cloud.state(f"{weights_task.CALLS}/{self.call_id}")
        if state is None:
            view.show(contract.Queued())
            return
        event = contract.event_from_wire(state["event"])
        if not isinstance(event, contract.Done | contract.Failed):
            view.show(event)
            self._mark = max(self._mark, _mark(event))

    def go_on(self, spawn: Callable[[WeightsTask], str]) -> None:
        """Follows a call that ended by another one, where that helps; raises where it does not."""
        end, self._end = self._end, None
        if end is None:
            return
        is_cancelled = self._cloud.is_cancelled(f"{weights_task.CALLS}/{self.call_id}")
        is_stopped = end.outcome in ("timeout", "lost") and self.task.kind == "bring"
        if is_stopped and not is_cancelled and self._mark > self._mark_before:
            self._mark_before = self._mark
            # What was wrong is gone once fetching has begun.
            self.task = replace(self.task, is_repair=self.task.is_repair and self._mark[0] == 0)
            self.call_id = spawn(self.task)
            return
        raise _ended(end, is_cancelled=is_cancelled)


def _mark(event: contract.Event) -> tuple[int, int]:
    """How far the work is: its part, and what is done of that."""
    match event:
        case contract.Fetching():
            return 1, event.done_bytes
        case contract.Stage(name="packing"):
            return 2, event.done
        case _:
            return 0, 0


def _ended(polled: CallStatus, *, is_cancelled: bool) -> MultitalkError:
    again = "multitalk download"
    if is_cancelled:
        return RemoteError("the download was cancelled", code="E_CANCELLED", hint=again)
    if polled.outcome == "timeout":
        message = "nothing came within the time limit of a call"
        return RemoteError(message, code="E_TIMEOUT", hint=again)
    text = polled.text.partition("\n")[0] or "no reason was given"
    if polled.outcome == "expired":
        return RemoteError(f"the container's answer is gone: {text}", code="E_EXPIRED", hint=again)
    return RemoteError(f"the container was lost: {text}", code="E_REMOTE", hint=again)


def _describe_price(size_bytes: float) -> str:
    duration_s = size_bytes / weights_task.ASSUMED_BYTES_PER_S
    speed = human_bytes(weights_task.ASSUMED_BYTES_PER_S)
    money = human_money(_price_usd(duration_s))
    date = rates.load().prices.date
    return (
        f"about {money}: {human_duration(duration_s)} without a GPU at {speed}/s, rates of {date}"
    )


def _price_usd(duration_s: float) -> float:
    """Dollars for the container that writes."""
    prices = rates.load().prices
    memory_gib = weights_task.MEMORY_MIB / 1024
    rate = weights_task.CORES * prices.core_per_s_usd + memory_gib * prices.gib_per_s_usd
    return duration_s * rate
