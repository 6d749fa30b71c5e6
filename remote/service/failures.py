"""Expected errors of a run as events; every other error is a bug and stays an exception."""

import errno
import shlex

from multitalk_cli import contract
from multitalk_cli.errors import MultitalkError
from multitalk_cli.errors.masking import mask
from remote.engine.errors import EngineError


def to_failed(error: Exception) -> contract.Failed | None:
    """The event of an error that a user can act on; None for any other error."""
    if isinstance(error, MultitalkError):
        return contract.Failed(code=error.code, message=error.message, hint=_hint(error))
    if isinstance(error, EngineError):
        return contract.Failed(code=error.code, message=mask(str(error)))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = mask(f"no space left on the disk: {error}")
        return contract.Failed(code="E_DISK_FULL", message=message)
    if is_out_of_memory(error):
        message = describe_out_of_memory(error, "this work")
        return contract.Failed(code="E_OUT_OF_MEMORY", message=message)
    if is_gpu_broken(error):
        reason = str(error).strip().partition("\n")[0]
        return contract.Failed(code="E_GPU_FAILED", message=f"the GPU failed: {reason}")
    return None


def _hint(error: MultitalkError) -> str:
    """The command that helps, for facts that do not cross the wire."""
    folder = error.facts.get("folder")
    if folder is None:
        return error.hint
    return f"multitalk s3 ls {shlex.quote(str(folder))} --recursive"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the memory of the GPU or of the host was too small."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    # Imported late: functions without a GPU never need torch, which takes seconds.
    import torch

    # torch has no exception type for the host's memory.
    is_of_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
    return is_of_gpu or "can't allocate memory" in str(error)


def is_gpu_broken(error: Exception) -> bool:
    """Whether the GPU refuses all work of this process since the error.

    An illegal access, a failed assertion on the device or a memory error leave the process without
    a usable GPU; every later call fails as this one did.
    """
    if not isinstance(error, RuntimeError):
        return False
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def describe_out_of_memory(error: Exception, work: str) -> str:
    """The message for work that does not fit, with the first line of what torch reports."""
    reason = str(error).strip().partition("\n")[0]
    return f"the memory is too small for {work}" + (f": {reason}" if reason else "")
