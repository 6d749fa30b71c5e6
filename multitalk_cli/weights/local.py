"""A folder of weights on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import weights_task
from multitalk_cli.contract.weights_task import Precision, WeightsTask
from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.reporting.formatting import human_bytes
from multitalk_cli.weights.download import added_bytes

if TYPE_CHECKING:
    from multitalk_cli.cloud.pack import DeployedPack
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.storage.hub import Hub
    from remote.weights.config import PackConfig

PACKS: Mapping[Precision, str] = {"bf16": "pack", "fp8": "pack-fp8"}
_NEEDED = ("torch", "tokenizers", "huggingface_hub")


class LocalWeights:
    """The folder; work on it runs in this process.

    config: sizes of the model; MultiTalk's published ones by default.
    """

    def __init__(
        self, folder: Path, *, hub: Hub | None = None, config: PackConfig | None = None
    ) -> None:
        self._folder, self._hub, self._config = folder, hub, config
        self.title = str(folder)
        self.packs = PACKS
        self.facts: Mapping[str, Fact] = {"weights_folder": str(folder)}

    @classmethod
    def usable(cls, folder: Path) -> LocalWeights:
        """A folder on a machine that can pack. Raises SetupError E_LOCAL_EXTRA on any other."""
        absent = [name for name in _NEEDED if find_spec(name) is None]
        if absent:
            raise SetupError(
                f"packing the weights needs {', '.join(absent)}, which is not installed",
                code="E_LOCAL_EXTRA",
            )
        return cls(folder)

    def name(self, file: str) -> str:
        """The path of a file in the folder."""
        return str(self._folder / file)

    def prepare(
        self, ask: Callable[[str], None], reporter: Reporter, *, is_all: bool, preset: str = ""
    ) -> bool:
        """Nothing has to be set up, and nothing is asked."""
        del ask, reporter, is_all, preset
        return False

    def find_pack(self) -> DeployedPack | None:
        """None: a survey is as fast on this machine."""
        return None

    def attach(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any] | None:
        """None: another process cannot be followed."""
        del task, reporter
        return None

    def announce(self, survey: Mapping[str, Any], reporter: Reporter) -> None:
        """Reports the space that is needed. Raises FileError E_DISK_SPACE if less is free."""
        # A part of an incomplete pack is there already.
        begun = survey["begun_pack_bytes"] if survey["pack_bytes"] else 0
        begun += survey.get("eight_bit", {}).get("begun_bytes", 0)
        needed = max(0, added_bytes(survey) - begun)
        free = survey["free_bytes"]
        reporter.fact("space", f"{human_bytes(needed)} needed, {human_bytes(free)} free")
        if needed > free:
            raise FileError(
                f"{self.title} needs {human_bytes(needed)}, only {human_bytes(free)} are free",
                code="E_DISK_SPACE",
            )

    def run(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        """The answer of a task, done while its progress is shown."""
        from remote.weights import download

        if task.kind not in weights_task.WRITING:
            return self._run(task, reporter)
        reporter.leaving = "interrupted; run the same command again to resume"
        with download.locked(self._folder):
            return self._run(task, reporter)

    def _run(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        from remote.weights.config import PUBLISHED
        from remote.weights.folder import WeightsFolder

        shelf = WeightsFolder(
            folder=self._folder,
            packs=PACKS,
            open_hub=self._open_hub,
            config=PUBLISHED if self._config is None else self._config,
        )
        with reporter.progress() as view:
            return shelf.run(task, view.show)

    def _open_hub(self, endpoint: str) -> Hub:
        from multitalk_cli.storage.hub import Hub

        return Hub.of_surroundings(endpoint=endpoint) if self._hub is None else self._hub
