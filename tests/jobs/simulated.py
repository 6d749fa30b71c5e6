"""Modal simulated in this process: calls, containers, a network that fails, and a clock of its own.

What the client asks passes through `Transport.exchange`, which loses requests and answers, and ends
the client at any of them. Containers keep the rules of the deployed methods (claims, kept windows,
answers); what they do happens at times of the simulated clock. Everything random is drawn from one
seed.
"""

import hashlib
import heapq
import itertools
import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from multitalk_cli import Client, MultitalkError, __version__, contract, job_handle
from multitalk_cli.cloud.client import CallStatus, Cloud, PoolStats
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.errors import TemporaryError
from multitalk_cli.jobs.ledger import DONE, Ledger

WINDOWS, WINDOW_S, QUEUE_S = 3, 40.0, 60.0


class KilledError(BaseException):
    """The client's process ends here: nothing that would be said or cleaned up matters."""


@dataclass(frozen=True)
class Odds:
    """How often things happen. The first three are of each request, the others of each window."""

    request_lost: float = 0.01
    answer_lost: float = 0.01
    killed: float = 0.004
    preempted: float = 0.03
    container_lost: float = 0.02
    out_of_memory: float = 0.01
    not_finite: float = 0.005


CALM = Odds(0, 0, 0, 0, 0, 0, 0)


@dataclass
class Call:
    """A call at Modal. status: None while it waits or runs."""

    id: str
    wire: dict
    status: CallStatus | None = None
    is_running: bool = False


@dataclass
class Made:
    """What containers did for one video, by its seed.

    windows: finished ones, of jobs that a video may still come of. at_work: calls in containers
    now. videos: how often one was finished. jobs: their ids.
    """

    windows: Counter = field(default_factory=Counter)
    at_work: set = field(default_factory=set)
    most_at_work: int = 0
    videos: int = 0
    jobs: set = field(default_factory=set)


def box(name, body):
    return (len(body) + 8).to_bytes(4, "big") + name + body


def video_with(recipe):
    """The least MP4 that carries a recipe."""
    data = box(b"data", b"\0\0\0\1" + bytes(4) + recipe.encode())
    meta = box(b"meta", bytes(4) + box(b"ilst", box(b"\xa9cmt", data)))
    return box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", box(b"udta", meta))


class Transport:
    """The account and the way to it. counts: of requests, by name; events: of what went wrong."""

    def __init__(self, seed, odds=None):
        self.random, self.odds = random.Random(seed), odds or Odds()
        self.lock = threading.RLock()
        self.now_s, self._due, self._order = 0.0, [], itertools.count()
        self.dicts, self.files = defaultdict(dict), {}
        self.calls, self.ongoing, self.requests = {}, {}, {}
        self.counts, self.events, self.made = Counter(), Counter(), defaultdict(Made)

    # The clock, which stands in for the module `time`

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        """Time passes, and what is due happens."""
        with self.lock:
            end_s = self.now_s + seconds
            while self._due and self._due[0][0] <= end_s:
                self.now_s, _, work = heapq.heappop(self._due)
                self._go_on(work)
            self.now_s = end_s

    def _go_on(self, work):
        pause_s = next(work, None)
        if pause_s is not None:
            heapq.heappush(self._due, (self.now_s + pause_s, next(self._order), work))

    # The network

    def happens(self, event):
        """Whether something that may go wrong does."""
        is_so = self.random.random() < getattr(self.odds, event)
        self.events[event] += is_so
        return is_so

    @contextmanager
    def exchange(self, name):
        """A request and its answer: its work is done unless the request is lost."""
        with self.lock:
            self.counts[name] += 1
            if self.happens("request_lost"):
                raise TemporaryError("no connection", code="E_NETWORK")
            if self.happens("killed"):
                raise KilledError
            yield
            if self.happens("killed"):
                raise KilledError
            if self.happens("answer_lost"):
                raise TemporaryError("the connection broke", code="E_NETWORK")

    # Calls and containers

    def spawn(self, wire):
        call = Call(f"fc-{len(self.calls)}", wire)
        self.calls[call.id] = self.ongoing[call.id] = call
        self._go_on(self._container(call))
        return call.id

    def end(self, call, **status):
        call.status, call.is_running = CallStatus(**status), False
        del self.ongoing[call.id]
        # Ten thousand pictures would be more than a client has.
        call.wire = {name: call.wire[name] for name in ("job", "link")}

    def answer(self, call, event, **more):
        self.end(call, outcome="answer", answer={"event": contract.to_wire(event), **more})

    def _container(self, call):
        """A container that takes the call: yields the seconds until its next moment."""
        states, job_id, link = self.dicts[contract.STATES_DICT], call.wire["job"], call.wire["link"]
        yield self.random.expovariate(1 / QUEUE_S)
        if call.status is not None:
            return
        owner = states.setdefault(f"{job_id}/call/{link}", json.dumps(call.id))
        if json.loads(owner) != call.id:
            self._elsewhere(call, json.loads(owner), link)
            return
        if (following := states.get(f"{job_id}/call/{link + 1}")) is not None:
            self._elsewhere(call, json.loads(following), link + 1)
            return
        # The cloud keeps it for the calls that follow.
        request = self.requests.setdefault(job_id, call.wire["request"])
        made = self.made[request["seed"]]
        made.jobs.add(job_id)
        while True:
            made.at_work.add(call.id)
            made.most_at_work = max(len(made.at_work), made.most_at_work)
            call.is_running = True
            is_preempted = yield from self._run(call, request, made)
            made.at_work.discard(call.id)
            call.is_running = False
            if not is_preempted:
                return
            # Modal gives the input to another container, under the same call.
            yield self.random.expovariate(1 / QUEUE_S)
            if call.status is not None:
                return

    def _elsewhere(self, call, owner, link):
        message = "run by another call"
        failed = contract.Failed(code="E_DUPLICATE", message=message)
        self.answer(call, failed, owner=owner, link=link)

    def _run(self, call, request, made):
        """One container's work at the call; tells whether it was preempted."""
        states, job_id = self.dicts[contract.STATES_DICT], call.wire["job"]
        before = json.loads(states.get(job_id, '{"windows": 0, "run_s": 0}'))
        began_s, kept = self.now_s - before["run_s"], before["windows"]

        def report(event, windows):
            state = {
                "event": contract.to_wire(event),
                "windows": windows,
                "link": call.wire["link"],
            }
            states[job_id] = json.dumps({**state, "run_s": self.now_s - began_s})

        for window in range(kept + 1, WINDOWS + 1):
            yield self.random.uniform(0.2, 1.0) * WINDOW_S
            if call.status is not None:
                return False
            if f"{job_id}/cancel" in states:
                made.windows.clear()
                return self._fail(call, report, "E_CANCELLED", window - 1)
            if self.happens("preempted"):
                return True
            if self.happens("container_lost"):
                self.end(call, outcome="lost", text="the container was lost")
                return False
            if self.happens("out_of_memory"):
                return self._fail(call, report, "E_OUT_OF_MEMORY", window - 1)
            if self.happens("not_finite"):
                made.windows.clear()
                return self._fail(call, report, "E_NOT_FINITE", window - 1)
            made.windows[window] += 1
            report(contract.WindowDone(window=window, windows=WINDOWS), window)
        self._finish(call, request, made, report, self.now_s - began_s)
        return False

    def _fail(self, call, report, code, windows):
        failed = contract.Failed(code=code, message="it failed")
        report(failed, windows)
        self.answer(call, failed)
        return False

    def _finish(self, call, request, made, report, run_s):
        made.videos += 1
        video = video_with(request["recipe"])
        result = contract.Result(
            job_id=call.wire["job"], backend="modal", model_output=True, frames=request["frames"],
            fps=request["fps"], width_px=32, height_px=32, size_bytes=len(video),
            seed=request["seed"], recipe=request["recipe"], gpu="NVIDIA H100 80GB HBM3",
            gpu_seconds=run_s,
        )  # fmt: skip
        done = contract.Done(result=result)
        report(done, WINDOWS)
        self.answer(call, done, parts=[], video=video)
        part = {
            "name": "part-0000",
            "size": len(video),
            "sha256": hashlib.sha256(video).hexdigest(),
        }
        kept = {"event": contract.to_wire(done), "parts": [part]}
        folder = f"{call.wire['job']}/"
        del self.requests[call.wire["job"]]
        self.files[folder + part["name"]] = video
        self.files[folder + contract.RESULT_FILE] = kept

    def poll(self, call_id, timeout_s):
        call = self.calls[call_id]
        if call.status is None:
            self.sleep(timeout_s)
        return call.status or CallStatus(outcome="waiting")

    def cancel_call(self, call_id):
        call = self.calls[call_id]
        if call.status is None:
            self.end(call, outcome="ended", text="the call was cancelled")
            # Modal interrupts its container at once; another job would begin anew.
            for made in self.made.values():
                if call.wire["job"] in made.jobs:
                    made.at_work.discard(call_id)
                    made.windows.clear()


class SimulatedCloud(Cloud):
    """The client's side, whose requests go through a transport."""

    def __init__(self, transport):
        super().__init__(AppRef(app=contract.APP_NAME, environment=""))
        self._transport = transport

    def deployment(self):
        return {"contract": contract.CONTRACT_VERSION, "client": __version__, "stacks": ["current"]}

    def find_class(self, _stack):
        pass

    def find_index(self):
        pass

    def sizes(self, _volume, _folder):
        return {}

    def read_file(self, volume, path):
        if volume == contract.WEIGHTS_VOLUME:
            pack = {"format_version": contract.PACK_FORMAT, "files": [], "sources": []}
            yield json.dumps(pack).encode()
            return
        with self._transport.exchange("read_file"):
            content = self._transport.files.get(path)
        if content is None:
            raise FileNotFoundError(path)
        yield content if isinstance(content, bytes) else json.dumps(content).encode()

    def remove_folder(self, _volume, _folder):
        with self._transport.exchange("remove_folder"):
            pass

    def _dict_get(self, name, key):
        with self._transport.exchange("dict_get"):
            return self._transport.dicts[name].get(key)

    def _dict_put(self, name, key, value):
        with self._transport.exchange("dict_put"):
            self._transport.dicts[name][key] = value

    def _spawn(self, _method, _stack, _gpu, wire):
        with self._transport.exchange("spawn"):
            return self._transport.spawn(dict(wire))

    def poll(self, call_id, timeout_s):
        with self._transport.exchange("poll"):
            return self._transport.poll(call_id, timeout_s)

    def cancel_call(self, call_id):
        with self._transport.exchange("cancel_call"):
            self._transport.cancel_call(call_id)

    def pool_stats(self, _stack, _gpu):
        with self._transport.exchange("pool_stats"):
            ongoing = self._transport.ongoing.values()
            running = sum(call.is_running for call in ongoing)
            return PoolStats(
                backlog=len(ongoing) - running, containers=max(1, running), running=running
            )


@dataclass
class Crowd:
    """Many videos, one after the other or a few at a time, each until it has ended.

    commands: how many it took; killed: how many of them ended in the middle; ends: of videos, by
    their seeds. on_end: called with the number of videos that have ended.
    """

    transport: Transport
    folder: Path
    cancelled: float = 0.02
    at_once: int = 32
    commands: int = 0
    killed: int = 0
    ends: dict = field(default_factory=dict)
    errors: Counter = field(default_factory=Counter)
    on_end: Callable[[int], None] = lambda _count: None

    def make(self, count):
        """Makes videos with seeds from 0 on, each by as many commands as it takes."""
        client = self._client()
        for first in range(0, count, self.at_once):
            seeds = [*range(first, min(count, first + self.at_once))]
            handles = {seed: self._submit(client, seed) for seed in seeds}
            for seed in seeds:
                self._end(seed, handles.pop(seed))
            self.on_end(len(self.ends))

    def make_again(self):
        """Runs the commands of the videos that are there once more."""
        for seed, end in self.ends.items():
            if end == "done":
                self._end(seed, None)

    def _client(self):
        return Client(backend="modal", size="32x32", sample_steps=10, text_guidance=1)

    def _submit(self, client, seed):
        """The handle of a command; None where it failed or was killed."""
        self.commands += 1
        place = {"box:0%,0%,100%,100%": self.folder / "voice.wav"}
        output = self.folder / f"{seed}.mp4"
        try:
            return client.submit(self.folder / "host.png", speakers=place, seed=seed, output=output)
        except KilledError:
            self.killed += 1
        except MultitalkError as error:
            self.errors[error.code] += 1
        return None

    def _end(self, seed, handle):
        """Runs the same command again until its video is there or was cancelled."""
        for _ in range(50):
            if handle is not None and (end := self._followed(handle)):
                self.ends[seed] = end
                return
            # What a process had that was killed is gone.
            job_handle._followed.discard(handle)
            # Another process, which knows what is in the ledger.
            handle = self._submit(self._client(), seed)
        raise AssertionError(f"video {seed} does not end")

    def _followed(self, handle):
        if self.transport.random.random() < self.cancelled and handle.cancel():
            # Who stops the fetching of a finished video leaves it where it is.
            is_made = Ledger().get(handle.id).state == DONE
            return "" if is_made else "cancelled"
        handle.follow()
        handle.wait_until_left(60)
        if handle.state == "done":
            return "done"
        if handle.state != "running":
            try:
                handle.result()
            except MultitalkError as error:
                self.errors[error.code] += 1
            return ""
        self.killed += 1
        return ""
