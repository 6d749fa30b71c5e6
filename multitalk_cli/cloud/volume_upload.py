"""Files on their way into a Volume, all of them or none, and the bytes sent so far.

Modal's `Volume.batch_upload` reports no progress. What it hands the files to does: `modal volume
put` draws its bars with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class _SentBytes:
    """Receives what Modal's client reports of each file: its beginning, pieces, a retry, its end.

    on_sent: receives the bytes of all files so far, in a thread of Modal's client.
    """

    def __init__(self, on_sent: Callable[[int], None]) -> None:
        self._on_sent = on_sent
        self._sizes: list[int] = []
        self._sent: list[int] = []

    def __call__(
        self,
        task_id: int | None = None,
        *,
        name: str | None = None,
        size: float = 0,
        advance: float = 0,
        reset: bool = False,
        complete: bool = False,
    ) -> int | None:
        if name is not None:
            self._sizes.append(int(size))
            self._sent.append(0)
            return len(self._sizes) - 1
        if task_id is not None:
            sent = 0 if reset else self._sent[task_id] + int(advance)
            self._sent[task_id] = self._sizes[task_id] if complete else sent
            self._on_sent(sum(self._sent))
        return None


def upload_files(volume: Any, files: Mapping[str, Path], on_sent: Callable[[int], None]) -> None:
    """Uploads files under their paths in the Volume. Raises what Modal's client does."""
    from modal.volume import AbstractVolumeUploadContextManager

    volume.hydrate()
    batch = AbstractVolumeUploadContextManager.resolve(
        volume._get_metadata().version,
        volume.object_id,
        volume.client,
        progress_cb=_SentBytes(on_sent),
        force=True,
    )
    with batch:
        for path, file in files.items():
            batch.put_file(str(file), path)
