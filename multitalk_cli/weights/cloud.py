"""The Volume of weights in the user's Modal account, and the containers that work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, settings
from multitalk_cli.cloud.call_result import CallRecord, NoRecord, as_answer, read_progress
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef, never_deployed
from multitalk_cli.cloud.follow import CallFollower, FollowPolicy, ShouldAbort, wait_for_end
from multitalk_cli.cloud.pack import DeployedPack, find_pack
from multitalk_cli.contract import events, weights_task
from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.contract.weights_task import (
    DOWNLOAD,
    EIGHT_BIT_BYTES,
    PACK_BYTES,
    PUBLISHED_BYTES,
    WeightsAction,
    WeightsTask,
)
from multitalk_cli.errors import MultitalkError, RemoteError, SetupError, TemporaryError
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import price_without_gpu
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.reporting.formatting import human_bytes, human_duration, human_money
from multitalk_cli.weights.download import added_bytes, does_all

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.reporting.reporter import Progress, Reporter

POLL_S = 0.5
QUESTION = (
    "d = detach (the download keeps running), c = cancel (keeps what was fetched), "
    "Enter = keep watching"
)


_LONG: tuple[WeightsAction, ...] = (DOWNLOAD, "add_lora", "verify")
"""Tasks that transfer or read gigabytes; the others take seconds."""


@contextmanager
def _unrecorded(_label: str, _call_id: str) -> Iterator[CallRecord]:
    """Notes nothing."""
    yield NoRecord()


class DownloadDetachedError(Exception):
    """The user detached from a download that keeps running."""


OpenRecord = Callable[[str, str], AbstractContextManager[CallRecord]]
"""(what the call does, its id where another command made it) -> where it is noted."""


class CloudWeights:
    """The Volume, and the deployed functions that work on it."""

    title = f"the Volume {contract.WEIGHTS_VOLUME}"
    packs = weights_task.PACKS_THERE

    def __init__(
        self, cloud: Cloud, *, detach: bool = False, record: OpenRecord = _unrecorded
    ) -> None:
        """detach: whether a download that runs is left alone, with DownloadDetachedError.

        record: notes the calls that take long enough to cost something.
        """
        self._cloud, self._detach, self._record = cloud, detach, record
        self.facts: Mapping[str, Fact] = {"volume": contract.WEIGHTS_VOLUME, **cloud.place.facts}

    @classmethod
    def reachable(
        cls, place: AppRef, *, detach: bool = False, record: OpenRecord = _unrecorded
    ) -> CloudWeights:
        """The Volume of an account. Raises SetupError without a token, TemporaryError offline."""
        return cls(Cloud.reachable(place), detach=detach, record=record)

    def name(self, file: str) -> str:
        """The name that users see of a file in the Volume."""
        return f"{contract.WEIGHTS_VOLUME}/{file}"

    # Before

    def require_deployed(self) -> None:
        """Raises SetupError if the app was never deployed, so that there are no weights."""
        if self._cloud.deployment() is None:
            raise never_deployed(self._cloud.place)

    def prepare(
        self, ask: Callable[[str], None], reporter: Reporter, *, is_all: bool, preset: str = ""
    ) -> bool:
        """Deploys the app if necessary; tells whether the user was asked.

        One question for both: only the deployed app finds out what exactly will be fetched.
        """
        from multitalk_cli.cloud.deploy import add_secrets, deploy_app, plan_deploy

        if self._cloud.deployment() is not None:
            return False
        place = self._cloud.place
        chosen = settings.load_settings({})
        planned = add_secrets(plan_deploy(place, (), chosen["gpu"]))
        reporter.fact("app", f"{place.app} is not deployed yet: that comes first")
        work = self._describe_all(preset, reporter) if is_all else ""
        ask(f"Deploy {place.app}{work}?")
        with reporter.redirect_stdout():
            deploy_app(self._cloud, planned, reporter)
        return True

    def _describe_all(self, preset: str, reporter: Reporter) -> str:
        """Reports what a first download fetches and costs; the question about it."""
        added, terms = PUBLISHED_BYTES + PACK_BYTES, ""
        amount = f"about {human_bytes(PUBLISHED_BYTES)} into {self.title}, packed there"
        reporter.fact("fetch", amount)
        if preset:
            lora = PRESETS[preset].lora
            if lora:
                known = KNOWN_LORAS[lora]
                reporter.fact("lora", f"{lora}, {human_bytes(known.size_bytes)}, {known.licence}")
                added, terms = added + known.size_bytes, f", with {lora} under {known.licence}"
            folder = self.name(weights_task.eight_bit_folder(lora))
            amount = human_bytes(EIGHT_BIT_BYTES)
            reporter.fact("8-bit", f"weights, about {amount} more, in {folder}")
            added += EIGHT_BIT_BYTES
        reporter.fact("price", _describe_price(added))
        return f", and fetch the weights{terms}"

    def find_pack(self) -> DeployedPack | None:
        """The finished pack, found from this machine without a container."""
        try:
            return find_pack(self._cloud)
        except SetupError as error:
            if error.code != "E_WEIGHTS_MISSING":
                raise
            return None

    def announce(self, survey: Mapping[str, Any], reporter: Reporter) -> None:
        """Reports the space that a download needs and the price of its container."""
        more = added_bytes(survey)
        reporter.fact("space", f"{human_bytes(more)} more in {self.title}")
        reporter.fact("price", _describe_price(more))

    # A download that runs

    def running(self) -> str:
        """The id of the call that downloads now; empty if none does."""
        call_id = self._cloud.owner(weights_task.CALLS, 0)
        is_running = call_id and self._cloud.poll(call_id, 0.0).outcome == "waiting"
        return call_id if is_running else ""

    def attach(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any] | None:
        """Follows the download that runs, to its end; None if none does."""
        call_id = self.running()
        if not call_id:
            return None
        if self._detach:
            raise DownloadDetachedError
        reporter.note("a download is already running: attached to it")
        with self._record(_label(task), call_id) as record:
            return self._follow(task, call_id, record, reporter)

    def stop(self, reporter: Reporter) -> bool:
        """Cancels the download that runs and waits for its end; tells whether that stopped one."""
        call_id = self.running()
        return bool(call_id) and self.cancel(call_id, reporter, lambda: False)

    # Work

    def run(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        """The answer of a task, done in a container while its progress is shown."""
        if task.kind == DOWNLOAD and not task.is_repair:
            # Another command may have started one since this one looked.
            answer = self.attach(task, reporter)
            if answer is not None and does_all(answer, task):
                return answer
        elif task.kind in weights_task.WRITING and self.running():
            raise TemporaryError(
                f"a download is writing to {self.title}", code="E_DOWNLOAD_RUNS", facts=self.facts
            )
        opened = self._record if task.kind in _LONG else _unrecorded
        with opened(_label(task), "") as record:
            call_id = record.spawned(self.spawn(task))
            if task.kind == DOWNLOAD and self._detach:
                raise DownloadDetachedError
            return self._follow(task, call_id, record, reporter)

    def spawn(self, task: WeightsTask) -> str:
        """Starts a call that does the task, and returns its id."""
        task = replace(task, endpoint=settings.hub_endpoint())
        is_writing = task.kind in weights_task.WRITING
        function = contract.DOWNLOAD_FUNCTION if is_writing else contract.WEIGHTS_FUNCTION
        call_id = self._cloud.spawn_function(function, contract.to_wire(task))
        if task.kind == DOWNLOAD:
            self._cloud.note_call(weights_task.CALLS, 0, call_id)
        return call_id

    def cancel(self, call_id: str, reporter: Reporter, should_abort: ShouldAbort) -> bool:
        """Cancels a call and waits for its end; False for one that finished first."""
        self._cloud.cancel(_state_key(call_id), call_id)
        ended = wait_for_end(self._cloud, call_id, should_abort)
        if ended is None:
            reporter.note("cancellation requested; Modal has not confirmed it yet")
            return True
        if ended.answer is not None and "answer" in ended.answer:
            reporter.note("the download had already finished")
            return False
        reporter.note("cancelled; what was fetched is kept")
        return True

    def _follow(
        self, task: WeightsTask, call_id: str, record: CallRecord, reporter: Reporter
    ) -> Mapping[str, Any]:
        follower = _TaskFollower(self, self._cloud, task, call_id, record, reporter)
        answer = as_answer(follower.answer(), self.facts)
        if "answer" not in answer:
            kind = answer["event"]["kind"]
            raise RemoteError(f"a download ended with {kind}", code="E_REMOTE", facts=self.facts)
        record.ran(follower.earlier_s + float(answer["run_s"]))
        found: Mapping[str, Any] = answer["answer"]
        price_usd = _price_usd(float(answer["run_s"]))
        return {**found, "precision": answer["precision"], "price_usd": price_usd}


class _TaskFollower:
    """A task, followed through all its calls. earlier_s: how long those before the last one ran."""

    def __init__(
        self,
        target: CloudWeights,
        cloud: Cloud,
        task: WeightsTask,
        call_id: str,
        record: CallRecord,
        reporter: Reporter,
    ) -> None:
        self._target, self._cloud, self._reporter = target, cloud, reporter
        self._task, self._record = task, record
        self._progress, self._progress_before = (0, 0), (0, 0)
        self.earlier_s = 0.0
        is_download = task.kind == DOWNLOAD
        policy = FollowPolicy(
            cancel=self._cancel,
            name="the container",
            facts=target.facts,
            question=QUESTION if is_download else None,
            detach=DownloadDetachedError() if is_download else None,
            poll_s=POLL_S,
        )
        self._calls = CallFollower(cloud, reporter, policy, call_id)

    def answer(self) -> Mapping[str, Any]:
        """The answer of the last call. Raises RemoteError where none came."""
        with self._reporter.progress() as view, closing(self._calls.polls()) as polls:
            for status in polls:
                if status.outcome == "answer":
                    return {} if status.answer is None else status.answer
                if status.outcome == "unreachable":
                    continue
                # A connection that is lost shows in the next poll.
                with suppress(TemporaryError):
                    self._show(view)
                if status.outcome != "waiting":
                    self._continue_or_raise(status)
        raise RuntimeError("a call was no longer polled before it ended")

    def _show(self, view: Progress) -> None:
        state = self._cloud.state(_state_key(self._calls.call_id))
        if state is None:
            view.show(contract.Stage(name="starting"))
            return
        self._record.ran(self.earlier_s + float(state["run_s"]))
        event = read_progress(state["event"])
        if event is not None and not isinstance(event, contract.Done | contract.Failed):
            view.show(event)
            self._progress = max(self._progress, _progress_of(event))

    def _continue_or_raise(self, ended: CallStatus) -> None:
        """Continues in another call where the ended one got further than that before it."""
        is_cancelled = self._cloud.is_cancelled(_state_key(self._calls.call_id))
        is_resumable = ended.outcome in ("timeout", "lost") and self._task.kind == DOWNLOAD
        if is_cancelled or not is_resumable or self._progress <= self._progress_before:
            raise _error_of(ended, self._target.facts, is_cancelled=is_cancelled)
        self._progress_before = self._progress
        # Damage is repaired once fetching has begun.
        is_repair = self._task.is_repair and self._progress[0] == 0
        self._task = replace(self._task, is_repair=is_repair)
        state = self._cloud.state(_state_key(self._calls.call_id))
        self.earlier_s += 0.0 if state is None else float(state["run_s"])
        self._calls.call_id = self._record.spawned(self._target.spawn(self._task))

    def _cancel(self, should_abort: ShouldAbort) -> bool:
        is_cancelled = self._target.cancel(self._calls.call_id, self._reporter, should_abort)
        if is_cancelled:
            self._reporter.leaving = "interrupted; what was fetched is kept, run it again to resume"
        return is_cancelled


def _label(task: WeightsTask) -> str:
    """The task in the list of jobs."""
    words = {
        DOWNLOAD: task.eight_bit or task.precision,
        "add_lora": f"lora {', '.join(task.names)}",
        "verify": "--verify",
    }
    return words.get(task.kind, task.kind)


def _state_key(call_id: str) -> str:
    return f"{weights_task.CALLS}/{call_id}"


def _progress_of(event: contract.Event) -> tuple[int, int]:
    """The progress of a download: its step, and the bytes that are done in it."""
    match event:
        case contract.Fetching():
            return 1, event.done_bytes
        case contract.Stage(name=events.PACKING):
            return 2, event.done
        case contract.Stage(name=events.QUANTIZING):
            return 3, event.done
        case _:
            return 0, 0


def _error_of(
    status: CallStatus, facts: Mapping[str, Fact], *, is_cancelled: bool
) -> MultitalkError:
    text = status.text.partition("\n")[0] or "no reason was given"
    if is_cancelled:
        code, message = "E_CANCELLED", "the download was cancelled"
    elif status.outcome == "timeout":
        code, message = "E_TIMEOUT", "nothing was fetched within the time limit of a call"
    elif status.outcome == "expired":
        code, message = "E_EXPIRED", f"the container's answer is no longer kept: {text}"
    else:
        code, message = "E_REMOTE", f"the container was lost: {text}"
    return RemoteError(message, code=code, facts=facts)


def _describe_price(size_bytes: float) -> str:
    duration_s = size_bytes / weights_task.ASSUMED_BYTES_PER_S
    speed = human_bytes(weights_task.ASSUMED_BYTES_PER_S)
    money = human_money(_price_usd(duration_s))
    date = rates.load().prices.date
    return (
        f"about {money}: {human_duration(duration_s)} without a GPU at {speed}/s, rates of {date}"
    )


def _price_usd(duration_s: float) -> float:
    """Price of the container that writes."""
    return price_without_gpu(weights_task.CORES, weights_task.MEMORY_MIB / 1024, duration_s)
