"""The model on this machine: the service that also runs in the cloud, with this machine's weights.

Finished windows are kept in the user's state directory until the video is complete, so that the
same command resumes after a stop.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.contract.loras import LORAS_FOLDER, LORAS_RECORD
from multitalk_cli.contract.weights_task import (
    is_eight_bit_folder,
    lora_digests,
    recorded_digests,
    require_loras,
)
from multitalk_cli.errors import SetupError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.files import expand_home, partial_file, shown_path, user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multitalk_cli.generation.backends.base import Events
    from remote.service.store import DirectoryStore

NAME = "local"

_NEEDED = ("torch", "tokenizers", "ftfy")
_MANIFEST = "manifest.json"
_SEED, _LOCK = "seed.json", "lock"
_FORGET_AFTER_S = 30 * 24 * 3600


def check_setup(weights: str | None, origin: str) -> Path:
    """The folder of weights. Raises SetupError for what is missing; no weights are read.

    origin: of the setting, for the error.
    """
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise SetupError(
            f"--backend local needs {', '.join(absent)}, which is not installed",
            code="E_LOCAL_EXTRA",
        )
    if weights is None:
        raise SetupError(
            "--backend local needs --weights DIR, the folder that holds the model",
            code="E_WEIGHTS",
        )
    return find_weights(weights, origin)


def find_weights(weights: str, origin: str = "") -> Path:
    """The folder of weights. Raises SetupError E_WEIGHTS for a folder without a pack."""
    folder = expand_home(weights)
    is_part = is_eight_bit_folder("/".join(folder.absolute().parts[-2:]))
    if (folder / _MANIFEST).is_file() and not is_part:
        return folder
    why = f"has no {_MANIFEST}" if folder.is_dir() else "does not exist"
    why = "holds 8-bit weights alone" if is_part else why
    named = f" of {origin}" if origin else ""
    packed = (folder.parent.parent if is_part else folder) / "pack" / _MANIFEST
    facts: dict[str, Fact] = {"pack": str(packed.parent)} if packed.is_file() else {}
    message = f"the folder of weights {weights!r}{named} {why}"
    raise SetupError(message, code="E_WEIGHTS", facts=facts)


def check_loras(weights: Path, loras: Sequence[contract.LoraChoice]) -> None:
    """Raises SetupError E_LORA_MISSING for one that is not next to the pack of weights."""
    folder = weights.absolute().parent
    require_loras(loras, _lora_record(folder), shown_path(folder), {"weights_folder": str(folder)})


def find_digests(weights: Path, loras: Sequence[contract.LoraChoice]) -> Mapping[str, str]:
    """Name -> sha256 of the LoRAs next to the pack of weights."""
    folder = weights.absolute().parent
    return lora_digests(loras, _lora_record(folder), shown_path(folder))


def all_digests(weights: Path) -> Mapping[str, str]:
    """The same of all that are there."""
    folder = weights.absolute().parent
    return recorded_digests(_lora_record(folder), shown_path(folder))


def _lora_record(folder: Path) -> bytes:
    record = folder / LORAS_FOLDER / LORAS_RECORD
    return record.read_bytes() if record.is_file() else b""


def identify(recipe: Mapping[str, Any]) -> tuple[str, int]:
    """The same job id for the same recipe, and the seed.

    A random seed is replaced by that of the unfinished job, if there is one.
    """
    ignored = {"seed", "seed_drawn"} if recipe["seed_drawn"] else {"seed_drawn"}
    what = {name: value for name, value in recipe.items() if name not in ignored}
    job_id = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    seed = _kept_seed(_jobs_folder() / job_id / _SEED) if recipe["seed_drawn"] else None
    return job_id, recipe["seed"] if seed is None else seed


def _kept_seed(path: Path) -> int | None:
    try:
        seed = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return seed if type(seed) is int and 0 <= seed <= contract.MAX_SEED else None


def _jobs_folder() -> Path:
    return user_folder("state") / "local-jobs"


def run(
    request: contract.GenerateRequest,
    target: Path,
    weights: Path,
    device: str,
    *,
    overwrite: bool = False,
    persistent_params: int | None = None,
    first: bool = False,
) -> Events:
    """Writes the video at `target` and yields events; `Done` or `Failed` last.

    first: only the first window, which is kept for a run of the rest.
    Raises SetupError where the weights are not a complete pack, RefusedError where the device
    cannot run them, FileError where the video cannot be written.
    """
    from remote.service import run as service_run
    from remote.service.store import DirectoryStore
    from remote.weights import feature_cache
    from remote.weights import model as weights_model

    features = feature_cache.FeatureFolder(user_folder("cache") / "features")
    model = weights_model.PackedModel(weights, device, features)
    store = DirectoryStore(_jobs_folder())
    store.delete_older(_FORGET_AFTER_S, _is_running)
    with _claimed(request) as request:
        events = service_run.run(
            request,
            model,
            store,
            backend=NAME,
            persistent_params=persistent_params,
            first=first,
        )
        for event in events:
            if isinstance(event, contract.Done):
                _place(store, request.job_id, target, overwrite=overwrite)
                if not first:
                    store.delete(request.job_id)
                # Nothing was paid for.
                yield contract.Done(result=replace(event.result, gpu_seconds=None))
                return
            yield event


def _place(store: DirectoryStore, job_id: str, target: Path, *, overwrite: bool) -> None:
    """Copies the finished video to `target`."""
    from remote.service.store import VIDEO

    video = store.load(job_id, VIDEO)
    if video is None:
        raise RuntimeError(f"job {job_id} ended without its video")
    with partial_file(target, overwrite=overwrite, durable=True) as part:
        shutil.copyfile(video, part)


def _is_running(job_id: str) -> bool:
    """Whether a process makes this job's video."""
    import fcntl

    try:
        with (_jobs_folder() / job_id / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _claimed(request: contract.GenerateRequest) -> Iterator[contract.GenerateRequest]:
    """The request, with its job's folder locked for this process.

    While another process makes the same video, this one starts from the beginning elsewhere.
    """
    import fcntl

    folder = _jobs_folder() / request.job_id
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield replace(request, job_id=secrets.token_hex(8))
            return
        (folder / _SEED).write_text(json.dumps(request.seed), "utf-8")
        yield request
