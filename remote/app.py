"""The Modal app: wiring only. The work is in `remote.worker`, which does not import Modal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import modal
from modal.experimental import stop_fetching_inputs

from multitalk_cli import contract
from multitalk_cli.contract import weights_task
from multitalk_cli.planning import gpus
from multitalk_cli.planning.containers import pool_options, reservation
from remote.deployment import image
from remote.deployment.options import VARIABLE, this_deployment
from remote.worker.generate import Container, Worker
from remote.worker.logs import log_to_stdout
from remote.worker.volume_store import VolumeStore

SECONDS, MINUTES, HOURS = 1, 60, 3600
# A longer job is a chain of calls, each of which resumes after the last finished window.
TIMEOUT_S = 12 * HOURS
STARTUP_TIMEOUT_S = 10 * MINUTES
SCALEDOWN_S = 30 * SECONDS
MAX_CONTAINERS = 10
CPU_TIMEOUT_S = 1 * HOURS
# A longer download is a chain of calls, each of which resumes at the last byte.
DOWNLOAD_TIMEOUT_S = 6 * HOURS
CPU_CORES = 2.0
CPU_MEMORY_MIB = 4 * 1024

WEIGHTS, JOBS, CACHES = Path("/weights"), Path("/jobs"), Path(image.CACHES)

deployment = this_deployment()
_variables = {VARIABLE: deployment.to_json()}
images = {stack: image.build(stack, _variables) for stack in deployment.stacks}
app = modal.App(contract.APP_NAME, include_source=False)

weights = modal.Volume.from_name(contract.WEIGHTS_VOLUME, create_if_missing=True)
jobs = modal.Volume.from_name(contract.JOBS_VOLUME, create_if_missing=True)
caches = modal.Volume.from_name(contract.CACHES_VOLUME, create_if_missing=True)
states = modal.Dict.from_name(contract.STATES_DICT, create_if_missing=True)


def _secrets(*names: str) -> list[modal.Secret]:
    """The secrets, of these, that the account had when the app was deployed."""
    return [modal.Secret.from_name(name) for name in names if name in deployment.secrets]


_cpu_options: dict[str, Any] = {
    "image": images["current"],
    "cpu": CPU_CORES,
    "memory": CPU_MEMORY_MIB,
    "timeout": CPU_TIMEOUT_S,
    "startup_timeout": STARTUP_TIMEOUT_S,
    "scaledown_window": SCALEDOWN_S,
    "max_containers": MAX_CONTAINERS,
    "retries": 0,
}
_gpu_options: dict[str, Any] = {
    "gpu": list(deployment.gpus),
    **reservation(gpus.names_of(deployment.gpus)),
    "volumes": {
        str(WEIGHTS): weights.with_mount_options(read_only=True),
        str(JOBS): jobs,
        str(CACHES): caches,
    },
    # The container itself stores a finished video: its client may be gone.
    "secrets": _secrets(contract.AWS_SECRET),
    "timeout": TIMEOUT_S,
    "startup_timeout": STARTUP_TIMEOUT_S,
    "scaledown_window": SCALEDOWN_S,
    "max_containers": MAX_CONTAINERS,
    "retries": 0,
}


class _Methods:
    """Methods of the class of every stack.

    A new container only sets up; the first call loads, so that progress and failures have a job.
    """

    stack: str

    @modal.enter()
    def set_up(self) -> None:
        """Imports the engine; reads no weights."""
        log_to_stdout()
        self.worker = Worker(
            pack=WEIGHTS / contract.PACK_FOLDER,
            jobs=JOBS,
            caches=CACHES / self.stack,
            states=states,
            volume=jobs,
            container=Container(
                spawn=self._spawn, retire=stop_fetching_inputs, limit_s=float(TIMEOUT_S)
            ),
            refresh=weights.reload,
        )
        self.worker.set_up()

    def _spawn(self, wire: Mapping[str, Any]) -> str:
        """Starts another call of `generate`, on the kind of GPU that the wire names."""
        found = modal.Cls.from_name(wire["app"], contract.STACK_CLASSES[self.stack])
        options = pool_options(wire["gpu"], wire["persistent_params"])
        chosen = found.with_options(**options) if options else found
        return str(chosen().generate.spawn(dict(wire)).object_id)

    @modal.method()
    def generate(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Makes one video, or resumes it."""
        return self.worker.generate(wire, str(modal.current_function_call_id()))

    @modal.method()
    def warm(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Loads the weights."""
        return self.worker.warm(wire)

    @modal.method()
    def examine(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Reports the machine, and makes a short video."""
        return self.worker.examine(wire)

    @modal.method()
    def prove(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Compares a step of a few blocks with float32, and attention kernels."""
        return self.worker.prove(wire)

    @modal.method()
    def bench(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Runs the benchmark."""
        return self.worker.bench(wire)


@app.cls(image=images["current"], **_gpu_options)
class Current(_Methods):
    """The recent torch and CUDA; every GPU."""

    stack = "current"


if "cuda12.1" in deployment.stacks:

    @app.cls(image=images["cuda12.1"], **_gpu_options)
    class Cuda121(_Methods):
        """torch 2.4.1 on CUDA 12.1 with FlashAttention 2 and xformers; every GPU but B200."""

        stack = "cuda12.1"


@app.function(**_cpu_options, volumes={str(JOBS): jobs}, secrets=_secrets(contract.AWS_SECRET))
def prepare(wire: dict[str, Any]) -> dict[str, Any]:
    """Fetches, checks and prepares inputs that lie in the user's store."""
    from remote.worker.prepare import prepare_inputs

    return prepare_inputs(wire, VolumeStore(JOBS, jobs, states))


@app.function(**_cpu_options, volumes={str(JOBS): jobs}, secrets=_secrets(contract.AWS_SECRET))
def store(wire: dict[str, Any]) -> dict[str, Any]:
    """Reports what is stored at a video's address in the user's store, or stores it there."""
    from remote.worker.upload import store_video

    return store_video(wire, VolumeStore(JOBS, jobs, states))


@app.function(**_cpu_options, secrets=_secrets(contract.AWS_SECRET))
def check_storage(wire: dict[str, Any]) -> dict[str, Any]:
    """Stores, reads and deletes a small object in the bucket that the secret names."""
    from remote.worker import examine

    return examine.check_storage(wire)


@app.function(**_cpu_options)
def check_sound(wire: dict[str, Any]) -> dict[str, Any]:
    """Compares decoding and resampling of sound with librosa."""
    from remote.worker import examine

    return examine.check_sound(wire)


@app.function(
    **{
        **_cpu_options,
        "cpu": weights_task.CORES,
        "memory": weights_task.MEMORY_MIB,
        "timeout": DOWNLOAD_TIMEOUT_S,
        "max_containers": 1,
    },
    volumes={str(WEIGHTS): weights},
    secrets=_secrets(contract.HUGGINGFACE_SECRET),
)
def download(wire: dict[str, Any]) -> dict[str, Any]:
    """Changes the weights; no other function may, and one call runs at a time."""
    return _work_on_weights(wire, writes=True)


@app.function(
    **_cpu_options,
    volumes={str(WEIGHTS): weights.with_mount_options(read_only=True)},
    secrets=_secrets(contract.HUGGINGFACE_SECRET),
)
def look_at_weights(wire: dict[str, Any]) -> dict[str, Any]:
    """Reports what is there and what is missing."""
    return _work_on_weights(wire, writes=False)


def _work_on_weights(wire: dict[str, Any], *, writes: bool) -> dict[str, Any]:
    from remote.worker.weights import work_on_weights

    log_to_stdout()
    call_id = str(modal.current_function_call_id())
    return work_on_weights(
        wire, call_id, folder=WEIGHTS, states=states, volume=weights, writes=writes
    )
