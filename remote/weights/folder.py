"""Tasks on a folder of weights, on any machine; answers are plain data.

The folder holds the published files, sources.json that pins them, a pack for each precision, LoRA
files, and 8-bit weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract.events import PACKING, QUANTIZING, THROTTLED
from multitalk_cli.contract.weights_task import Precision, WeightsTask
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.storage.hub import Hub
from remote.engine.checkpoint.published import build
from remote.weights import download, eight_bit_tasks, loras, resumable
from remote.weights.config import PUBLISHED, PackConfig
from remote.weights.manifest import (
    MANIFEST_FILE,
    Manifest,
    SourceFile,
    SourceManifest,
    load_manifest,
    verify_pack,
)
from remote.weights.pack import UNFINISHED_FILE, pack

Show = Callable[[contract.Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFolder:
    """A folder of weights.

    packs: precision -> folder of its pack. open_hub: opens the hub at an endpoint, "" for its own.
    is_disk: whether free space is known. config: sizes of the published model. save: makes written
    files persist beyond this machine, where they do not by themselves; files of more than
    part_bytes are in parts there.
    """

    folder: Path
    packs: Mapping[Precision, str]
    open_hub: Callable[[str], Hub]
    is_disk: bool = True
    config: PackConfig = PUBLISHED
    save: Callable[[], None] | None = None
    part_bytes: int = resumable.PART_BYTES

    def run(self, task: WeightsTask, show: Show) -> dict[str, Any]:
        """Runs a task and returns its answer. Raises MultitalkError for expected failures.

        show: called with each event; raising from it stops the work.
        """
        match task.kind:
            case "survey":
                return self._survey(task, show)
            case "bring":
                return self._bring(task, show)
            case "list":
                return self._list()
            case "verify":
                return self._verify(show)
            case "strays":
                return self._strays()
            case "prune":
                return self._prune(task)
            case "survey_lora":
                return loras.survey(self.folder, self._hub(task, show), task.lora)
            case "add_lora":
                (name,) = task.names
                hub = self._hub(task, show)
                return self._add_lora(hub, name, task.lora, show)

    def _add_lora(self, hub: Hub, name: str, address: str, show: Show) -> dict[str, Any]:
        weights = self._model_shapes()
        return loras.add(self.folder, hub, name, address, show, self.save, self.part_bytes, weights)

    def _model_shapes(self) -> Mapping[str, tuple[int, ...]] | None:
        """Names and shapes of the transformer that is here; None where there is none."""
        for name in self.packs.values():
            try:
                config = load_manifest(self.folder / name).config
            except (OSError, ValueError):
                continue
            return {
                key: tuple(each.shape) for key, each in build("dit", config).state_dict().items()
            }
        return None

    def _hub(self, task: WeightsTask, show: Show) -> Hub:
        """The hub, which shows the pauses that it asks for."""
        hub = self.open_hub(task.endpoint)
        hub.on_pause = lambda passed_s, pause_s: show(
            contract.Stage(name=THROTTLED, done=passed_s, total=pause_s)
        )
        return hub

    def _pack(self, precision: Precision) -> Path:
        return self.folder / self.packs[precision]

    # Fetching and packing

    def _survey(self, task: WeightsTask, show: Show) -> dict[str, Any]:
        """The files that a download would fetch and pack, and the free space."""
        plan = self._plan(task, partial(self._hub, task, show))
        is_packed = self._is_packed(task, plan)
        pack_bytes = 0 if is_packed else download.pack_bytes(plan.sources, task.precision)
        answer = {
            **self._describe(task, plan),
            "missing_bytes": self._missing_bytes(task, plan),
            "is_packed": is_packed,
            # The table is that of the published model.
            "differences": download.differences(plan.sources) if self.config == PUBLISHED else [],
            "pack_bytes": pack_bytes,
            "begun_pack_bytes": _held(self._pack(task.precision)),
            "free_bytes": download.free_bytes(self.folder) if self.is_disk else None,
        }
        if task.is_eight_bit:
            answer["eight_bit"] = self._survey_eight_bit(task, plan, show)
        return answer

    def _survey_eight_bit(
        self, task: WeightsTask, plan: download.FetchPlan, show: Show
    ) -> dict[str, Any]:
        base = self._pack(task.precision) if self._is_packed(task, plan) else None
        open_hub = partial(self._hub, task, show)
        found = eight_bit_tasks.survey(self.folder, base, task.eight_bit, open_hub)
        if found["size_bytes"] is None:
            found["size_bytes"] = download.eight_bit_bytes(plan.sources)
        begun = _held(self.folder / task.eight_bit) if found["size_bytes"] else 0
        return {**found, "begun_bytes": begun}

    def _describe(self, task: WeightsTask, plan: download.FetchPlan) -> dict[str, Any]:
        return {
            "repositories": [
                _describe(plan.sources, repo, commit) for repo, commit in plan.revisions.items()
            ],
            "size_bytes": plan.size_bytes,
            "pack": self.packs[task.precision],
        }

    def _plan(self, task: WeightsTask, open_hub: Callable[[], Hub]) -> download.FetchPlan:
        """The published files; those of the pack where that is all that is needed of them."""
        for repo in task.commits:
            if repo not in contract.REPOSITORIES:
                names = ", ".join(contract.REPOSITORIES)
                raise UsageError(
                    f"--revision takes one of {names}, not {repo!r}",
                    code="E_RANGE",
                    hint="multitalk download --help",
                )
        packed = self._packed_before(task)
        if packed is not None:
            return download.FetchPlan(sources=SourceManifest(files=packed.sources), contents={})
        return download.make_plan(self.folder, open_hub(), task.commits)

    def _packed_before(self, task: WeightsTask) -> Manifest | None:
        """The pack from which 8-bit weights can be made without its published files."""
        base = self._base() if task.is_eight_bit and not task.is_repair else None
        if base is None:
            return None
        commits = {file.repo: file.revision for file in base.sources}
        return base if task.commits.items() <= commits.items() else None

    def _is_packed(self, task: WeightsTask, plan: download.FetchPlan) -> bool:
        is_before = self._packed_before(task) is not None
        return is_before or self._packed(task.precision, plan.sources) is not None

    def _missing_bytes(self, task: WeightsTask, plan: download.FetchPlan) -> int:
        return 0 if self._packed_before(task) is not None else plan.missing_bytes(self.folder)

    def _bring(self, task: WeightsTask, show: Show) -> dict[str, Any]:
        open_hub = partial(self._hub, task, show)
        plan = self._plan(task, open_hub)
        repaired, again = self._discard_wrong(plan.sources, show) if task.is_repair else ([], [])
        missing = self._missing_bytes(task, plan)
        if self._packed_before(task) is None:
            self._fetch(plan, open_hub(), show)
        added = {**loras.addresses(self.folder, repaired), **dict.fromkeys(task.names, task.lora)}
        for name, address in added.items():
            missing += self._add_lora(open_hub(), name, address, show)["size_bytes"]
        if not self._is_packed(task, plan):
            self._make_pack(task.precision, show)
        for name in [*again, task.eight_bit] if task.is_eight_bit else again:
            self._write_eight_bit(task, name, show)
        answer = {"fetched_bytes": missing, "repaired": repaired, "eight_bit": task.eight_bit}
        return {**self._describe(task, plan), **answer}

    def _fetch(self, plan: download.FetchPlan, hub: Hub, show: Show) -> None:
        # Closed at once where showing raises, so that no file is open when that is saved.
        with closing(download.fetch(self.folder, plan, hub, self.save, self.part_bytes)) as events:
            for event in events:
                show(event)

    def _write_eight_bit(self, task: WeightsTask, name: str, show: Show) -> None:
        report, base = _reporter(show, QUANTIZING, self.save), self._pack(task.precision)
        with resumable.disk_errors(self.folder / name):
            is_staged = self.save is not None
            eight_bit_tasks.write(self.folder, base, name, report, is_staged=is_staged)

    def _make_pack(self, precision: Precision, show: Show) -> None:
        """Packs what was fetched."""
        target = self._pack(precision)
        try:
            with resumable.disk_errors(target):
                report = _reporter(show, PACKING, self.save)
                is_staged = self.save is not None
                pack(self.folder, target, precision, self.config, report, is_staged=is_staged)
        except ValueError as error:
            raise SetupError(
                f"the published files are not those of the model that this version runs: {error}",
                code="E_WEIGHTS",
                hint="pass --revision with a commit that this version runs, or upgrade "
                "multitalk-cli",
            ) from error

    def _packed(self, precision: Precision, sources: SourceManifest) -> Manifest | None:
        """The pack's manifest, if it is complete and made from exactly these files, if any."""
        manifest = self._whole(self._pack(precision))
        if manifest is None or manifest.precision != precision:
            return None
        if not sources.files:
            return manifest
        is_same = {file.sha256 for file in manifest.sources} == {f.sha256 for f in sources.files}
        return manifest if is_same else None

    def _base(self) -> Manifest | None:
        """The pack that 8-bit weights are made from, if it is complete."""
        manifest = self._whole(self._pack("bf16"))
        return None if manifest is None or manifest.precision == "fp8" else manifest

    def _whole(self, folder: Path) -> Manifest | None:
        """The manifest of a complete pack."""
        try:
            manifest = load_manifest(folder)
        except (OSError, ValueError):
            return None
        is_whole = all(
            (folder / file.name).is_file()
            and (folder / file.name).stat().st_size == file.size_bytes
            for file in manifest.files
        )
        return manifest if is_whole and manifest.changes is None else None

    def _discard_wrong(self, sources: SourceManifest, show: Show) -> tuple[list[str], list[str]]:
        """Removes what is damaged: published files one by one, a pack by its manifest.

        Returns what that is, and the 8-bit weights to write again.
        """
        wrong, damaged = self._wrong_files(sources, show)
        download.discard(self.folder, wrong)
        packs = {name.partition("/")[0] for name in damaged}
        with resumable.disk_errors(self.folder):
            for name in set(self.packs.values()) if wrong else packs & set(self.packs.values()):
                # Packed files of a damaged file are damaged too.
                (self.folder / name / UNFINISHED_FILE).unlink(missing_ok=True)
            for name in packs & set(self.packs.values()):
                (self.folder / name / MANIFEST_FILE).unlink(missing_ok=True)
            is_base_damaged = self.packs["bf16"] in packs
            again = eight_bit_tasks.discard(self.folder, damaged, is_base_damaged=is_base_damaged)
        return [*(download.place_of(file) for file in wrong), *damaged], again

    # Content

    def _pinned(self) -> SourceManifest | None:
        """The published files; an empty list next to a pack that was uploaded without them."""
        pinned = download.load_sources(self.folder)
        packs = [self.folder / name / MANIFEST_FILE for name in self.packs.values()]
        if pinned is None and any(path.is_file() for path in packs):
            return SourceManifest(files=())
        return pinned

    def _list(self) -> dict[str, Any]:
        sources = self._pinned()
        if sources is None:
            return {"is_there": False}
        packs: dict[str, dict[str, Any]] = {
            precision: {
                "folder": name,
                "size_bytes": _held(self._pack(precision)),
                "is_complete": self._packed(precision, sources) is not None,
            }
            for precision, name in self.packs.items()
        }
        base = self._base()
        for name in eight_bit_tasks.names(self.folder):
            packs[name] = {
                "folder": name,
                "size_bytes": _held(self.folder / name),
                "is_complete": base is not None
                and eight_bit_tasks.is_current(self.folder, base, name),
                "is_outdated": base is not None
                and eight_bit_tasks.is_outdated(self.folder, base, name),
            }
        return {
            "is_there": True,
            "files": [_state(state) for state in download.states(self.folder, sources)],
            "loras": [_state(state) for state in loras.states(self.folder)],
            "packs": packs,
            "revisions": {file.repo: file.revision for file in sources.files},
        }

    def _verify(self, show: Show) -> dict[str, Any]:
        sources = self._pinned()
        if sources is None:
            return {"is_there": False}
        wrong, damaged = self._wrong_files(sources, show)
        base = self._base()
        checked = sources.files or (() if base is None else base.files)
        return {
            "is_there": True,
            "files": len(checked),
            "size_bytes": sum(file.size_bytes for file in checked),
            "wrong": [*(download.place_of(file) for file in wrong), *damaged],
        }

    def _wrong_files(
        self, sources: SourceManifest, show: Show
    ) -> tuple[list[SourceFile], list[str]]:
        """Reads everything: published files that are absent or damaged; names of all others."""
        report = _reporter(show, "checking")
        wrong = download.verify(self.folder, sources, report)
        damaged = loras.verify(self.folder)
        for name in (*sorted(self.packs.values()), *eight_bit_tasks.names(self.folder)):
            if not (self.folder / name / MANIFEST_FILE).is_file():
                continue
            try:
                manifest = load_manifest(self.folder / name)
                bad = verify_pack(self.folder / name, manifest, report)
            except ValueError:
                bad = [MANIFEST_FILE]
            damaged += [f"{name}/{file}" for file in bad]
        return wrong, sorted(damaged)

    def _strays(self) -> dict[str, Any]:
        found = self._found_strays()
        if found is None:
            return {"is_there": False}
        return {
            "is_there": True,
            "strays": [
                {"file": self._name(path), "size_bytes": path.stat().st_size} for path in found
            ],
        }

    def _found_strays(self) -> list[Path] | None:
        sources = self._pinned()
        if sources is None:
            return None
        packs = {}
        for precision, name in self.packs.items():
            manifest = self._packed(precision, sources)
            if manifest is not None:
                packs[name] = {file.name for file in manifest.files} | {MANIFEST_FILE}
        base = self._base()
        for name in eight_bit_tasks.names(self.folder):
            if base is None:
                break
            if eight_bit_tasks.is_current(self.folder, base, name):
                packs[name] = eight_bit_tasks.files(self.folder, name)
            elif eight_bit_tasks.is_outdated(self.folder, base, name):
                packs[name] = set()
        found = download.strays(self.folder, sources, packs)
        return sorted([*found, *loras.strays(self.folder)])

    def _prune(self, task: WeightsTask) -> dict[str, Any]:
        """Removes those of the named files that are strays."""
        removed = []
        for path in self._found_strays() or ():
            if self._name(path) in task.names:
                with resumable.disk_errors(path):
                    path.unlink()
                removed.append(self._name(path))
        return {"removed": removed}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _describe(sources: SourceManifest, repo: str, commit: str) -> dict[str, Any]:
    sizes = [file.size_bytes for file in sources.files if file.repo == repo]
    return {"repo": repo, "commit": commit, "files": len(sizes), "size_bytes": sum(sizes)}


def _state(state: download.FileState) -> dict[str, Any]:
    return {
        "file": state.place,
        "size_bytes": state.size_bytes,
        "held_bytes": state.held_bytes,
        "is_complete": state.is_complete,
    }


def _held(folder: Path) -> int:
    """Bytes of a pack, complete or begun."""
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _reporter(
    show: Show, name: str, save: Callable[[], None] | None = None
) -> Callable[[int, int, str], None]:
    def report(done: int, total: int, file: str) -> None:
        if save is not None and file:
            save()
        show(contract.Stage(name=name, done=done, total=total))

    return report
