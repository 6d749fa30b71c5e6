"""The rows of a manifest as arguments and settings of videos, checked as far as no decoding."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import settings as all_settings
from multitalk_cli.batch.problems import Problems, name_rows
from multitalk_cli.errors import MultitalkError, UsageError
from multitalk_cli.files import expand_home, is_safe_name, is_web_address, open_input
from multitalk_cli.generation import output_path
from multitalk_cli.generation.backends.select import backend_name, report_default
from multitalk_cli.generation.spec import GenerateArgs, build_spec
from multitalk_cli.generation.store import output_names
from multitalk_cli.media.video.names import PREVIEW_SUFFIX, SUFFIX, preview_of
from multitalk_cli.planning.prepare import check_inputs
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.batch.manifest import Manifest, ManifestRow
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

INPUTS = ("id", "image", "voice", "voice2")
ARGUMENTS = (
    "output", "prompt", "speaker", "seed", "seeds", "upload", "upload_to", "force", "first",
)  # fmt: skip
"""Options of `generate` that are no settings."""
NOT_OF_VIDEOS = ("bucket",)
"""Settings that are no option of `generate`."""
COLUMNS = (
    *INPUTS,
    *ARGUMENTS,
    *(name for name in all_settings.SETTINGS if name not in NOT_OF_VIDEOS),
)
MOST_SEEDS = 100
_TEXTS = ("image", "voice", "voice2", "output", "prompt", "upload_to")
_FLAGS = ("force", "first", "upload")
_BY_ID = "{id}.mp4"
PREVIEW, PAID = "preview", "modal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for every row that does not say otherwise.

    output: a folder or a template. given: settings by name, None where they were not given.
    """

    output: str | None = None
    prompt: str = all_settings.DEFAULT_PROMPT
    seed: int | None = None
    seeds: int = 1
    force: bool = False
    first: bool = False
    given: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One video to make, or several that differ in their seed.

    given: what the row and the command line set, for a report. own: the names that the row itself
    sets, which no option of the command replaces. backend: its name.
    """

    number: int
    id: str
    args: GenerateArgs
    settings: Settings
    seeds: int
    backend: str
    given: Mapping[str, object]
    own: frozenset[str] = frozenset()

    @property
    def is_paid(self) -> bool:
        """Whether it costs money."""
        return self.backend == PAID


def read_rows(
    manifest: Manifest, defaults: Defaults, reporter: Reporter, problems: Problems
) -> list[BatchRow]:
    """The rows that are right; what is wrong with others goes to `problems`.

    Raises UsageError for wrong defaults.
    """
    all_settings.load_settings(defaults.given)
    _check_columns(manifest, problems)
    rows: list[BatchRow] = []
    for found in manifest.rows:
        with _noting(problems, found.number):
            row = _read_usable(found, manifest.folder, defaults, reporter, problems)
            spec = build_spec(row.args, row.settings)
            with _noting(problems, row.number):
                _, name = choose_target(row, spec)
                if row.seeds == 1:
                    is_own = "output" in found.values
                    other = "" if is_own else _output_by_id(defaults.output, manifest.folder)
                    find_collision(name, row.number, problems, other)
            if not spec.stored:
                check_inputs(spec.image, spec.voices)
            rows.append(row)
        if found.number in problems.rows:
            _check_files(found, manifest.folder, problems)
    _check_ids(rows, problems)
    report_default(reporter, [(row.settings, row.backend) for row in rows])
    # Who makes a row may not see a person, without whom nothing becomes a preview unasked.
    return [replace(row, settings=row.settings.having("backend", row.backend)) for row in rows]


def _read_usable(
    found: ManifestRow, folder: Path, defaults: Defaults, reporter: Reporter, problems: Problems
) -> BatchRow:
    """The row; without the cells that are wrong, all of which are noted.

    What else is wrong is then found too. Raises what is wrong with the row as a whole.
    """
    try:
        return _read_row(found, folder, defaults, reporter.is_interactive)
    except MultitalkError:
        usable = {}
        for column, value in found.values.items():
            with _noting(problems, found.number):
                _check_cell(_known_name(column), value)
                usable[column] = value
        if len(usable) == len(found.values):
            raise
        found = replace(found, values=usable)
        return _read_row(found, folder, defaults, reporter.is_interactive)


def _check_cell(name: str | None, value: Any) -> None:
    """Raises what is wrong with an option by itself."""
    if name in all_settings.SETTINGS:
        all_settings.load_settings({name: value}, as_keywords=True)
    elif name == "seed":
        all_settings.parse_whole(name, value)
    elif name == "seeds":
        parse_seeds(name, value)
    elif name in _FLAGS:
        all_settings.parse_flag(name, value)
    elif name in _TEXTS and not isinstance(value, str):
        raise bad_row(f"{name} must be text, not {value!r}")
    elif name == "speaker":
        _speakers(value, Path())


def _check_files(found: ManifestRow, folder: Path, problems: Problems) -> None:
    """Notes each input that is missing of a row that has another problem."""
    for name in ("image", "voice", "voice2"):
        text = found.values.get(name)
        if isinstance(text, str) and text and not is_stored(text):
            with _noting(problems, found.number):
                open_input(Path(resolve(folder, text))).close()


class _noting(suppress):
    """Notes an error of a row."""

    def __init__(self, problems: Problems, number: int) -> None:
        super().__init__(MultitalkError)
        self._problems, self._number = problems, number

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, MultitalkError):
            self._problems.add(error, self._number)
        return bool(super().__exit__(kind, error, trace))


def bad_row(message: str) -> UsageError:
    """The error of a row that says something wrong."""
    return UsageError(message, code="E_MANIFEST")


# Columns


def _check_columns(manifest: Manifest, problems: Problems) -> None:
    """Notes unknown columns once, with the row of the titles or the first row that has them."""
    first: dict[str, int] = dict.fromkeys(filter(None, manifest.columns), 1)
    for row in manifest.rows:
        for column in row.values:
            first.setdefault(column, row.number)
    for column, number in first.items():
        if _known_name(column) is None:
            close = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.add(bad_row(f"unknown column {column!r}{hint}"), number)


def _known_name(column: str) -> str | None:
    """The column by its own name or that of its option; None for an unknown one."""
    name = all_settings.NAMES.get(column, column)
    return name if name in COLUMNS else None


# One row


def _read_row(
    found: ManifestRow, folder: Path, defaults: Defaults, is_interactive: bool
) -> BatchRow:
    values: dict[str, Any] = {}
    for column, value in found.values.items():
        name = _known_name(column)
        if name in values:
            raise bad_row(f"two columns hold the option {name!r}")
        if name is not None:
            values[name] = value
    for name in _TEXTS:
        _check_cell(name, values.get(name, ""))
    if "image" not in values:
        raise bad_row("no image")
    row_id = str(values.get("id", found.number))
    seed = all_settings.parse_whole("seed", values["seed"]) if "seed" in values else defaults.seed
    seeds = parse_seeds("seeds", values["seeds"]) if "seeds" in values else defaults.seeds
    settings = _settings(values, defaults, folder)
    args = GenerateArgs(
        image=resolve(folder, values["image"]),
        voices=tuple(
            resolve(folder, values[name]) for name in ("voice", "voice2") if name in values
        ),
        speakers=_speakers(values.get("speaker"), folder),
        prompt=values.get("prompt", defaults.prompt),
        seed=seed,
        force=_flag("force", values, defaults.force),
        first=_flag("first", values, defaults.first),
        upload=_flag("upload", values, default=False),
        upload_to=values.get("upload_to"),
    )
    output = _output(values, row_id, folder, defaults)
    backend = backend_name(settings, is_interactive=is_interactive)
    output = seeded_output(output, seeds, is_drawn=seed is None, backend=backend)
    args = replace(args, output=_preview_output(output) if backend == PREVIEW else output)
    given = {**(defaults.given or {}), **values}
    shown = {name: value for name, value in given.items() if value is not None}
    return BatchRow(
        number=found.number, id=row_id, args=args, settings=settings, seeds=seeds,
        backend=backend, given={name: shown[name] for name in shown if name not in INPUTS},
        own=frozenset(values),
    )  # fmt: skip


def _settings(values: Mapping[str, Any], defaults: Defaults, folder: Path) -> Settings:
    own = {name: value for name, value in values.items() if name in all_settings.SETTINGS}
    if isinstance(own.get("weights"), str):
        own["weights"] = resolve(folder, own["weights"])
    given = all_settings.merged(defaults.given or {}, own)
    return all_settings.load_settings(given, as_keywords=True)


def _flag(name: str, values: Mapping[str, Any], default: bool) -> bool:
    return all_settings.parse_flag(name, values[name]) if name in values else default


def _speakers(value: object, folder: Path) -> tuple[str, ...]:
    """PLACE=VOICE, several separated by semicolons, or a list of them in JSON."""
    texts = [] if value is None else value.split(";") if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise bad_row(f"speaker must be PLACE=VOICE, several with semicolons, not {value!r}")
    speakers = []
    for text in filter(None, map(str.strip, texts)):
        place, equals, voice = text.partition("=")
        speakers.append(f"{place}{equals}{resolve(folder, voice) if voice else ''}")
    return tuple(speakers)


def resolve(folder: Path, text: str) -> str:
    """A path of a row, which follows the manifest's folder; addresses stay as they are."""
    if not text or is_stored(text) or is_web_address(text):
        return text
    path = os.fspath(expand_home(text)) + ("/" if text.endswith("/") else "")
    return path if folder == Path() or path.startswith("/") else f"{folder}/{path}"


def parse_seeds(option: str, raw: object) -> int:
    """A number of variations. Raises UsageError E_RANGE."""
    return all_settings.parse_whole(option, raw, low=1, high=MOST_SEEDS)


# Outputs


def stem_of(args: GenerateArgs) -> str:
    """The name of a row after its voices."""
    voices = [*args.voices, *(each.partition("=")[2] for each in args.speakers)]
    return "-".join(Path(voice).stem for voice in voices)


def _output(values: Mapping[str, Any], row_id: str, folder: Path, defaults: Defaults) -> str | None:
    output = resolve(folder, values["output"]) if "output" in values else defaults.output
    if output is None:
        return None if folder == Path() else f"{folder}/"
    if output == "-":
        raise bad_row("output - (stdout) is for multitalk generate only")
    if "{id}" in output:
        if not is_safe_name(row_id) or set("{}") & set(row_id):
            raise bad_row(f"id {row_id!r} cannot be part of a file's name")
        output = output.replace("{id}", row_id)
    if "{n}" in output or "{n:" in output:
        raise bad_row(f"output {output!r} has {{n}}, with which a rerun would make it again")
    return output


def _preview_output(output: str | None) -> str | None:
    """The output of a row's preview: the row stays the same for its video."""
    if output is None or is_stored(output) or Path(output).is_dir():
        return output
    return preview_of(output)


def seeded_output(output: str | None, seeds: int, *, is_drawn: bool, backend: str) -> str | None:
    """The output with the seed in its name where there are several.

    Raises UsageError for a template without it, and for one with a seed that each run draws.
    """
    has_seed = output is not None and "{seed" in output
    if seeds == 1:
        if has_seed and is_drawn:
            raise bad_row(f"output {output!r} has {{seed}}, which needs a seed to be found again")
        return output
    ending = PREVIEW_SUFFIX if backend == PREVIEW else SUFFIX
    if output is None or output.endswith("/") or Path(output).is_dir():
        return f"{(output or '').rstrip('/')}{'/' if output else ''}{{voice}}-{{seed}}{ending}"
    if not has_seed:
        raise UsageError(
            f"{seeds} videos cannot have the name {output!r}: put {{seed}} into it",
            code="E_OUTPUT_NAME",
            facts={"proposed": f"{{voice}}-{{seed}}{ending}"},
        )
    return output


def choose_target(row: BatchRow, spec: GenerateSpec) -> tuple[Path | None, str]:
    """The row's file, None where it is only stored; and a name that two rows must not share.

    Raises what is wrong with the output.
    """
    names = output_names(row.args, spec, spec.options.seed, preview=row.backend == PREVIEW)
    args = row.args
    if args.output is not None and is_stored(args.output):
        place = output_path.choose_upload(args.output, names, overwrite=args.force)
        return None, f"s3://{place.bucket}/{place.key or place.stem}"
    target = output_path.choose_output(args.output, names)
    if not args.force and row.settings["sidecar"] and not target.exists():
        output_path.check_sidecar(target, force=False)
    return target, os.path.realpath(target)


def _check_ids(rows: Sequence[BatchRow], problems: Problems) -> None:
    first: dict[str, int] = {}
    for row in rows:
        if (before := first.setdefault(row.id, row.number)) != row.number:
            problems.add(
                bad_row(f"id {row.id!r} is that of {name_rows([before])[:-2]}"), row.number
            )


def _output_by_id(output: str | None, folder: Path) -> str:
    """An output for all rows in the same folder, in which each has its own."""
    if output is None:
        return str(folder / _BY_ID)
    is_open = Path(output).is_dir() and not output.endswith("/")
    path = f"{output}/" if is_open else output
    return path[: path.rfind("/") + 1] + _BY_ID


def find_collision(name: str, number: int, problems: Problems, other: str = "") -> None:
    """Notes that another row has this output. other: one for all rows that would mend it.

    Names that differ in case alone are one file on the disks of macOS, Windows and their shares,
    where one of two paid videos would take the other's place; so they are refused everywhere.
    """
    is_key = is_stored(name)
    folded = name if is_key else unicodedata.normalize("NFC", name).casefold()
    before, spelling = problems.outputs.setdefault(folded, (number, name))
    if before != number:
        holder = name_rows([before])[:-2]
        text = f"the output {name!r} is that of {holder}"
        if spelling != name:
            text = f"the output {name!r} is on macOS and Windows the file {spelling!r} of {holder}"
        facts: dict[str, Fact] = {"output": other} if other else {}
        problems.add(UsageError(text, code="E_MANIFEST", facts=facts), number)
