"""`multitalk download`: the published weights onto this machine, and the pack made from them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from multitalk_cli import contract
from multitalk_cli.errors import FileError, InterruptedRunError, SetupError, UsageError
from multitalk_cli.output import Output, align
from multitalk_cli.wording import human_bytes, human_count

if TYPE_CHECKING:
    from remote.engine.config import ModelConfig
    from remote.fetching import Plan
    from remote.hub import Hub
    from remote.weights import Manifest, SourceManifest

EXAMPLES = (
    "multitalk download --to weights",
    "multitalk download --to weights --precision fp8 --yes",
    "multitalk download --to weights --verify",
)
PACKS: dict[Literal["bf16", "fp8"], str] = {"bf16": "pack", "fp8": "pack-fp8"}
_NEEDED = ("torch", "transformers", "huggingface_hub")
_REVISION = re.compile(r"([\w.-]+/[\w.-]+)=([\w./-]{1,200})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for. revisions: repository -> branch or commit."""

    folder: Path
    precision: Literal["bf16", "fp8"] = "bf16"
    assume_yes: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)

    @property
    def pack(self) -> Path:
        """Where the pack of this precision lies."""
        return self.folder / PACKS[self.precision]

    def command(self, *options: str) -> str:
        """This command again, with other options."""
        return shlex.join(["multitalk", "download", "--to", str(self.folder), *options])


def download(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option("--to", metavar="DIR", help="Folder on this machine; needed for now."),
    ],
    precision: Annotated[
        str, typer.Option(metavar="KIND", help="Of the pack: bf16, or fp8 for smaller cards.")
    ] = "bf16",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare what is there with its sha256.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Verify, and fetch anew only what is wrong.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what earlier downloads left behind.")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show each file's size and state; no network.")
    ] = False,
    revision: Annotated[
        list[str] | None,
        typer.Option(metavar="REPO=COMMIT", help="Another commit than the pinned one."),
    ] = None,
) -> None:
    """Fetch the model's weights (about 82 GB), and pack them for --backend local.

    DIR gets the published files, sources.json that pins their commits and hashes, and the pack:
    DIR/pack, or DIR/pack-fp8. An interrupted run goes on where it stopped, to the byte.
    """
    output: Output = ctx.obj
    tasks = {"--verify": verify, "--repair": repair, "--prune": prune, "--list": show_list}
    chosen = [name for name, is_chosen in tasks.items() if is_chosen]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} are two tasks", code="E_CONFLICT")
    wish = _parse(to, precision, yes, revision or [])
    _require_packages()
    from remote.hub import Hub

    if verify:
        check(wish, output)
    elif prune:
        clean(wish, output)
    elif show_list:
        show(wish, output)
    else:
        bring(wish, output, Hub.of_surroundings(), is_repair=repair)


def _parse(to: str, precision: str, yes: bool, revisions: Sequence[str]) -> Wish:
    """Raises UsageError for what cannot be meant."""
    if not to.strip():
        raise UsageError("--to needs the name of a folder", code="E_USAGE")
    kind = next((each for each in PACKS if each == precision), None)
    if kind is None:
        raise UsageError(
            f"--precision must be one of {', '.join(PACKS)}, not {precision!r}", code="E_RANGE"
        )
    matches = {text: _REVISION.fullmatch(text) for text in revisions}
    for text, match in matches.items():
        if match is None:
            raise UsageError(f"--revision must be REPO=COMMIT, not {text!r}", code="E_RANGE")
    wanted = {match[1]: match[2] for match in matches.values() if match is not None}
    folder = Path(to).expanduser()
    return Wish(folder=folder, precision=kind, assume_yes=yes, revisions=wanted)


def _require_packages() -> None:
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise SetupError(
            f"packing the weights needs {', '.join(absent)}, which is not installed",
            code="E_LOCAL_EXTRA",
        )


def bring(
    wish: Wish,
    output: Output,
    hub: Hub,
    *,
    is_repair: bool = False,
    config: ModelConfig | None = None,
) -> None:
    """Fetches what is missing, packs it, and says what to do next.

    config: sizes of the published model, where it is not MultiTalk at full size.
    """
    from remote import fetching

    _check_repositories(wish)
    output.leaving = "interrupted; the same command goes on where it stopped"
    plan = fetching.make_plan(wish.folder, hub, wish.revisions)
    missing = plan.missing_bytes(wish.folder)
    is_packed = _packed(wish, plan.sources) is not None
    if is_packed and not missing and not is_repair:
        _report(wish, output, plan, 0)
        return
    _announce(wish, output, plan, missing, is_packed)
    with fetching.locked(wish.folder):
        if is_repair:
            _discard_wrong(wish, output, plan.sources)
        fetched = _fetch(wish, output, plan, hub)
        _pack(wish, output, plan.sources, config)
    _report(wish, output, plan, fetched)


def _check_repositories(wish: Wish) -> None:
    from remote.fetching import BRANCHES

    for repo in wish.revisions:
        if repo not in BRANCHES:
            names = ", ".join(BRANCHES)
            raise UsageError(
                f"--revision takes one of {names}, not {repo!r}",
                code="E_RANGE",
                hint="multitalk download --help",
            )


def _announce(wish: Wish, output: Output, plan: Plan, missing: int, is_packed: bool) -> None:
    """Says what is going to be fetched and how much, and asks once.

    Raises FileError E_DISK_SPACE, UsageError where nobody can be asked, InterruptedRunError
    where the answer is no.
    """
    from remote import fetching

    for repo, commit in plan.revisions.items():
        files = [file for file in plan.sources.files if file.repo == repo]
        size = human_bytes(sum(file.size_bytes for file in files))
        output.fact("from", f"{repo} at {commit[:12]}: {human_count(len(files), 'file')}, {size}")
    packed = 0 if is_packed else fetching.pack_bytes(plan.sources, wish.precision)
    needed = max(0, missing + packed - _held_by_pack(wish))
    free = fetching.free_bytes(wish.folder)
    output.fact("fetch", f"{human_bytes(missing)} of {human_bytes(plan.size_bytes)}")
    if packed:
        output.fact("pack", f"about {human_bytes(packed)} more, in {wish.pack}")
    output.fact("space", f"{human_bytes(needed)} needed, {human_bytes(free)} free")
    if needed > free:
        raise FileError(
            f"{wish.folder} needs {human_bytes(needed)}, and {human_bytes(free)} are free",
            code="E_DISK_SPACE",
        )
    work = f"Fetch {human_bytes(missing)} into" if missing else "Check and pack what is in"
    _ask(wish, output, f"{work} {wish.folder}?")


def _ask(wish: Wish, output: Output, question: str) -> None:
    if wish.assume_yes:
        return
    if not output.can_ask:
        raise UsageError("nobody is there to be asked", code="E_USAGE", hint=wish.command("--yes"))
    if not output.confirm(question):
        raise InterruptedRunError("nothing was changed", code="E_INTERRUPTED")


def _held_by_pack(wish: Wish) -> int:
    """Bytes of a pack that was begun, whose space is taken already."""
    if not wish.pack.is_dir():
        return 0
    return sum(path.stat().st_size for path in wish.pack.iterdir() if path.is_file())


def _fetch(wish: Wish, output: Output, plan: Plan, hub: Hub) -> int:
    """Gives how many bytes were fetched."""
    from remote import fetching

    before = plan.missing_bytes(wish.folder)
    with output.progress() as view:
        for event in fetching.fetch(wish.folder, plan, hub):
            view.show(event)
    return before


def _pack(wish: Wish, output: Output, sources: SourceManifest, config: ModelConfig | None) -> None:
    """Packs what was fetched, unless that is done."""
    from remote import fetching, weights
    from remote.engine.config import PUBLISHED

    if _packed(wish, sources) is not None:
        return
    sizes = PUBLISHED if config is None else config
    try:
        with output.progress() as view, fetching.disk_errors(wish.pack):
            report = _reporter(view.show, "packing")
            weights.pack(wish.folder, wish.pack, wish.precision, sizes, report)
    except ValueError as error:
        raise SetupError(
            f"the published files are not those of the model that this version runs: {error}",
            code="E_WEIGHTS",
            hint="pass --revision with a commit that this version runs, or upgrade multitalk-cli",
        ) from error


def _reporter(show: Callable[[contract.Event], None], name: str) -> Callable[[int, int, str], None]:
    def report(done: int, total: int, _file: str) -> None:
        show(contract.Stage(name=name, done=done, total=total))

    return report


def _packed(wish: Wish, sources: SourceManifest) -> Manifest | None:
    """The pack's manifest, if it is complete and made from these very files."""
    from remote import weights

    try:
        manifest = weights.load_manifest(wish.pack)
    except (OSError, ValueError):
        return None
    is_same = {file.sha256 for file in manifest.sources} == {f.sha256 for f in sources.files}
    is_whole = all(
        (wish.pack / file.name).is_file()
        and (wish.pack / file.name).stat().st_size == file.size_bytes
        for file in manifest.files
    )
    return manifest if is_same and is_whole and manifest.precision == wish.precision else None


def _report(wish: Wish, output: Output, plan: Plan, fetched: int) -> None:
    data = {
        "pack": str(wish.pack),
        "precision": wish.precision,
        "fetched_bytes": fetched,
        "size_bytes": plan.size_bytes,
        "revisions": plan.revisions,
    }
    weights = shlex.quote(str(wish.pack))
    output.note(f"next:  multitalk generate PICTURE VOICE --backend local --weights {weights}")
    output.succeed("download", data, [str(wish.pack)])


def _pinned(wish: Wish) -> SourceManifest:
    """What the folder is pinned to. Raises SetupError E_WEIGHTS where nothing is there."""
    from remote.fetching import load_sources

    sources = load_sources(wish.folder)
    if sources is None:
        raise SetupError(f"{wish.folder} holds no download", code="E_WEIGHTS", hint=wish.command())
    return sources


def _wrong_files(wish: Wish, output: Output, sources: SourceManifest) -> tuple[list[Any], set[str]]:
    """Reads everything: published files that are absent or damaged, and packs that are."""
    from remote import fetching, weights

    packs = {name for name in PACKS.values() if (wish.folder / name / "manifest.json").is_file()}
    damaged = set()
    with output.progress() as view:
        report = _reporter(view.show, "checking")
        wrong = fetching.verify(wish.folder, sources, report)
        for name in sorted(packs):
            try:
                manifest = weights.load_manifest(wish.folder / name)
                bad = weights.verify_pack(wish.folder / name, manifest, report)
            except ValueError:
                bad = ["manifest.json"]
            damaged |= {f"{name}/{file}" for file in bad}
    return wrong, damaged


def check(wish: Wish, output: Output) -> None:
    """Compares every file with its sha256. Raises SetupError E_WEIGHTS naming those that differ."""
    from remote import fetching

    sources = _pinned(wish)
    wrong, damaged = _wrong_files(wish, output, sources)
    names = [fetching.place_of(file) for file in wrong] + sorted(damaged)
    if names:
        raise SetupError(
            "\n".join([f"{human_count(len(names), 'file')} absent or damaged:", *names]),
            code="E_WEIGHTS",
            hint=wish.command("--repair", "--yes"),
        )
    size = human_bytes(sum(file.size_bytes for file in sources.files))
    line = f"{human_count(len(sources.files), 'file')}, {size}: all as the hub listed them"
    output.succeed("download", {"verified": len(sources.files)}, [line])


def _discard_wrong(wish: Wish, output: Output, sources: SourceManifest) -> None:
    """Removes what is damaged: published files one by one, a pack by its manifest."""
    from remote import fetching

    wrong, damaged = _wrong_files(wish, output, sources)
    for file in wrong:
        output.fact("repair", fetching.place_of(file))
    fetching.discard(wish.folder, wrong)
    for name in sorted(damaged):
        output.fact("repair", name)
        with fetching.disk_errors(wish.folder):
            (wish.folder / Path(name).parent / "manifest.json").unlink(missing_ok=True)


def show(wish: Wish, output: Output) -> None:
    """Shows each file's size and state, and which packs there are."""
    from remote import fetching

    sources = _pinned(wish)
    rows, packs = [], {}
    for state in fetching.states(wish.folder, sources):
        share = f"{100 * state.held_bytes // max(1, state.size_bytes)} %"
        word = "complete" if state.is_complete else share if state.held_bytes else "absent"
        rows.append((state.place, human_bytes(state.size_bytes), word))
    for precision, name in PACKS.items():
        wanted = Wish(folder=wish.folder, precision=precision)
        manifest = _packed(wanted, sources)
        packs[precision] = manifest is not None
        size = human_bytes(_held_by_pack(wanted))
        rows.append((f"{name}/", size, "complete" if manifest is not None else "absent"))
    files = [
        {"file": place, "size": size, "state": state} for place, size, state in rows[: -len(packs)]
    ]
    data = {
        "files": files,
        "packs": packs,
        "revisions": {file.repo: file.revision for file in sources.files},
    }
    output.succeed("download", data, align(rows))


def clean(wish: Wish, output: Output) -> None:
    """Removes files of earlier downloads and packings, after asking."""
    from remote import fetching

    sources = _pinned(wish)
    packs = {}
    for precision, name in PACKS.items():
        manifest = _packed(Wish(folder=wish.folder, precision=precision), sources)
        if manifest is not None:
            packs[name] = {file.name for file in manifest.files} | {"manifest.json"}
    with fetching.locked(wish.folder):
        found = fetching.strays(wish.folder, sources, packs)
        size = sum(path.stat().st_size for path in found)
        for path in found:
            output.fact(
                "stray", f"{path.relative_to(wish.folder)}, {human_bytes(path.stat().st_size)}"
            )
        if found:
            _ask(wish, output, f"Remove {human_count(len(found), 'file')}, {human_bytes(size)}?")
        for path in found:
            with fetching.disk_errors(path):
                path.unlink()
    line = f"{human_count(len(found), 'file')} removed, {human_bytes(size)}"
    data = {"removed": [str(path) for path in found], "size_bytes": size}
    output.succeed("download", data, [line])
