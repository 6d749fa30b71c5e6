"""Finished windows of a job: encoded, measured, and on their way into the store."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.media.video.video import VideoWriter
from remote.engine.pipeline import to_bytes
from remote.service import resume
from remote.service.decode import decode_picture
from remote.service.quality import Meter, WindowFigures, describe_bad_frames
from remote.service.retry import twice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from remote.engine.request import WindowFinished
    from remote.service.store import Store
    from remote.weights.machine import Machine

_log = logging.getLogger(__name__)


class FinishedWindows:
    """The finished windows of one job, those of earlier runs included.

    A window that the store does not take stays here, and is offered again with the next one: what
    is lost is only that another run could resume after it. record: what all runs did. problem: why
    measuring failed; None while it did not.
    """

    def __init__(
        self,
        request: contract.GenerateRequest,
        store: Store,
        record: resume.Record,
        folder: Path,
        wanted: int,
    ) -> None:
        """folder: for files, as long as the job runs. wanted: windows that the video is made of."""
        self._request, self._store, self._folder = request, store, folder
        self._wanted = wanted
        self._made_meter: Meter | None = None
        self._pending: dict[str, Path] = {}
        self.record = record
        self.problem: str | None = None

    def keeping(
        self, event: WindowFinished, machine: Machine, seconds: float, forwards: int
    ) -> Callable[[], contract.WindowDone | None]:
        """The work that encodes, keeps and measures a window; it does not use the device.

        seconds, forwards: spent on it. The work gives nothing for a window that the store did not
        take.
        """
        frames, motion = to_bytes(event.frames).cpu().numpy(), event.motion.float().cpu()
        unanchored = to_bytes(event.unanchored).cpu().numpy()
        self.record = replace(
            self.record,
            machines=(*self.record.machines, machine),
            seconds=self.record.seconds + seconds,
            forwards=self.record.forwards + forwards,
        )
        record = self.record

        def keep() -> contract.WindowDone | None:
            segment = self._folder / resume.segment_name(event.window)
            # Another program encodes: the GPU waits for the longer of the two, not for both.
            with ThreadPoolExecutor(1, "measure") as pool:
                measured = pool.submit(self._measure, event.window, frames, unanchored)
                twice(lambda: self._encode(frames, segment), segment.name)
            paths = (segment, measured.result())
            self._pending |= {path.name: path for path in paths if path is not None}
            windows = len(self._request.windows)
            done = contract.WindowDone(window=event.window + 1, windows=windows)
            return done if self._save(record, motion) else None

        return keep

    def _encode(self, frames: NDArray[np.uint8], segment: Path) -> None:
        began_s = time.monotonic()
        width, height, fps = self._request.width_px, self._request.height_px, self._request.fps
        with VideoWriter(segment, width=width, height=height, fps=fps) as writer:
            writer.write(frames)
        size, seconds = segment.stat().st_size, time.monotonic() - began_s
        _log.info("encoded %d frames: %d bytes in %.1f s", len(frames), size, seconds)

    def _measure(
        self, window: int, frames: NDArray[np.uint8], unanchored: NDArray[np.uint8]
    ) -> Path | None:
        """Writes the figures of a window; None where it could not be measured."""
        path = self._folder / resume.figures_name(window)
        try:
            figures = self._meter().measure(window, frames, unanchored)
            path.write_text(json.dumps(to_plain(figures)), "utf-8")
        # Figures are no reason to lose a video.
        except Exception as error:  # noqa: BLE001
            _log.exception("window %d was not measured", window + 1)
            self.problem = str(error) or type(error).__name__
            return None
        return path

    def _meter(self) -> Meter:
        if self._made_meter is None:
            self._made_meter = Meter(self._request, decode_picture(self._request))
        return self._made_meter

    def _save(self, record: resume.Record, motion: Tensor) -> bool:
        """Offers the store what it does not have; False where it did not take it."""
        job_id = self._request.job_id
        try:
            resume.save_windows(self._store, job_id, record, self._pending, motion, self._folder)
        # The window is still here, and the video can be made of it.
        except Exception:  # noqa: BLE001
            _log.exception("job %s: window %d is not kept", job_id, record.windows)
            return False
        for path in self._pending.values():
            path.unlink()
        self._pending.clear()
        return True

    def segments(self) -> list[Path]:
        """The segments of the video. Raises ValueError where one is absent."""
        names = [resume.segment_name(window) for window in range(self._wanted)]
        return [self._find(name) for name in names]

    def _find(self, name: str) -> Path:
        path = self._pending.get(name) or self._store.load(self._request.job_id, name)
        if path is None:
            raise ValueError(f"{name} is absent")
        return path

    def quality(self) -> tuple[contract.Quality | None, tuple[str, ...]]:
        """The figures of the video, None where nothing could be measured, and warnings."""
        request = self._request
        try:
            figures = [self._figures(window) for window in range(self._wanted)]
            warnings = describe_bad_frames(figures, request)
            quality = self._meter().quality(figures)
        # Figures are no reason to lose a video.
        except Exception as error:  # noqa: BLE001
            _log.exception("the video was not measured")
            self.problem = str(error) or type(error).__name__
            quality, warnings = None, []
        if self.problem is not None:
            warnings.append(f"the quality could not be measured: {self.problem}")
        if self._pending and self._wanted < len(request.windows):
            warnings.append("the first window could not be kept: the rest begins with it again")
        return quality, tuple(warnings)

    def _figures(self, window: int) -> WindowFigures | None:
        pending = self._pending.get(resume.figures_name(window))
        if pending is not None:
            return resume.read_figures(pending)
        return resume.load_figures(self._store, self._request.job_id, window)
