"""The steps of `multitalk download`, the same on this machine and in the cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.contract.weights_task import DOWNLOAD, Precision, WeightsAction, WeightsTask
from multitalk_cli.errors import RefusedError, SetupError, UsageError
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.reporting.formatting import human_bytes, human_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from multitalk_cli.cloud.pack import DeployedPack
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.reporting.reporter import Reporter


class WeightsTarget(Protocol):
    """A folder of weights, and the place where work on it runs.

    facts: name the folder in errors and results, for commands that concern it.
    """

    title: str
    packs: Mapping[Precision, str]
    facts: Mapping[str, Fact]

    def name(self, file: str) -> str:
        """The name that users see of a file in the folder."""

    def prepare(
        self, ask: Callable[[str], None], reporter: Reporter, *, is_all: bool, preset: str = ""
    ) -> bool:
        """Sets up what is needed, after asking; tells whether it asked.

        is_all: whether the model's weights will be fetched. preset: whose 8-bit weights are
        stored too.
        """

    def attach(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any] | None:
        """Follows a download that is already running; None if there is none."""

    def find_pack(self) -> DeployedPack | None:
        """The finished pack, if it is found faster than by a survey."""

    def announce(self, survey: Mapping[str, Any], reporter: Reporter) -> None:
        """Reports what a download needs: space, money."""

    def run(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        """The answer of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """The choice of weights. revisions: repository -> branch or commit.

    preset: one whose 8-bit weights are wanted too; empty for none.
    """

    preset: str = ""
    assume_yes: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    is_repair: bool = False


# Results


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadedWeights:
    """A complete pack.

    pack: its name as users see it. fetched_bytes: 0 where it was complete before. revisions:
    repository -> commit. price_usd: None where no container was paid. target: see `WeightsTarget`.
    preset, eight_bit: of which 8-bit weights are there too, and where; else empty.
    """

    pack: str
    fetched_bytes: int
    size_bytes: int
    revisions: Mapping[str, str]
    price_usd: float | None
    target: Mapping[str, Fact]
    preset: str = ""
    eight_bit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedWeights:
    """Files whose checksums are right."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file or pack of a folder. held_bytes: how much of it is there.

    is_outdated: whether it was made from other files than those that are there.
    """

    name: str
    size_bytes: int
    held_bytes: int
    is_complete: bool
    is_outdated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedWeights:
    """Files, LoRAs among them, and packs. revisions: repository -> commit.

    packs: by precision, 8-bit weights by folder.
    """

    files: tuple[ListedFile, ...]
    packs: Mapping[str, ListedFile]
    revisions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedWeights:
    """Files that were removed."""

    removed: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedLora:
    """A LoRA of the folder. sha256, licence: None where it was there before.

    pack: the one it is for, as users see it. target: see `WeightsTarget`.
    """

    name: str
    file: str
    fetched_bytes: int
    pack: str
    target: Mapping[str, Fact]
    sha256: str | None = None
    licence: str | None = None


# Download


def download(
    target: WeightsTarget, options: DownloadOptions, reporter: Reporter
) -> DownloadedWeights:
    """Fetches missing files and packs them."""
    has_asked = target.prepare(
        lambda text: _ask(target, options, reporter, text),
        reporter,
        is_all=True,
        preset=options.preset,
    )
    if not options.is_repair:
        found = _attached(target, options, reporter)
        found = _found(target, options, reporter) if found is None else found
        if found is not None:
            return found
    survey = target.run(_task(options, "survey", options.revisions), reporter)
    if survey["is_packed"] and not added_bytes(survey) and not options.is_repair:
        return _complete(target, options, reporter, survey["size_bytes"], _commits(survey))
    _announce(target, options, reporter, survey, has_asked=has_asked)
    task, lora = _task(options, DOWNLOAD, _commits(survey)), _eight_bit(survey)["lora"]
    if lora is not None:
        task = replace(task, names=(lora["name"],), lora=lora["address"])
    # The very commits that were shown.
    answer = target.run(task, reporter)
    for name in answer["repaired"]:
        reporter.fact("repaired", name)
    return _downloaded(target, options, answer, _commits(answer))


def _task(
    options: DownloadOptions, kind: WeightsAction, revisions: Mapping[str, str]
) -> WeightsTask:
    named = tuple(f"{repo}={commit}" for repo, commit in revisions.items())
    return WeightsTask(
        kind=kind,
        revisions=named,
        is_repair=options.is_repair,
        is_eight_bit=bool(options.preset),
        merged=PRESETS[options.preset].lora if options.preset else "",
    )


def _attached(
    target: WeightsTarget, options: DownloadOptions, reporter: Reporter
) -> DownloadedWeights | None:
    """The result of a download that was already running, if that did all that was asked for."""
    wanted = _task(options, DOWNLOAD, {})
    answer = target.attach(wanted, reporter)
    if answer is None or not does_all(answer, wanted) or options.revisions:
        return None
    return _downloaded(target, options, answer, _commits(answer))


def does_all(answer: Mapping[str, Any], task: WeightsTask) -> bool:
    """Whether the answer of a download is that of this one."""
    is_eight_bit = task.eight_bit in ("", answer.get("eight_bit", ""))
    return is_eight_bit and bool(answer["precision"] == task.precision)


def added_bytes(survey: Mapping[str, Any]) -> int:
    """The bytes that a download adds to a folder."""
    eight_bit = _eight_bit(survey)
    lora = 0 if eight_bit["lora"] is None else eight_bit["lora"]["size_bytes"]
    return int(survey["missing_bytes"] + survey["pack_bytes"] + eight_bit["size_bytes"] + lora)


def _eight_bit(survey: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is missing of the weights of a preset: nothing where none was asked for."""
    nothing = {"folder": "", "size_bytes": 0, "begun_bytes": 0, "lora": None}
    found: Mapping[str, Any] = survey.get("eight_bit", nothing)
    return found


def _found(
    target: WeightsTarget, options: DownloadOptions, reporter: Reporter
) -> DownloadedWeights | None:
    """The pack if it is there already, made from the commits that were asked for."""
    if options.preset:
        return None
    pack = target.find_pack()
    if pack is None or not options.revisions.items() <= pack.revisions.items():
        return None
    return _complete(target, options, reporter, pack.size_bytes, pack.revisions)


def _announce(
    target: WeightsTarget,
    options: DownloadOptions,
    reporter: Reporter,
    survey: Mapping[str, Any],
    *,
    has_asked: bool,
) -> None:
    """Reports what will be fetched, and asks once.

    Raises UsageError where no question can be asked, RefusedError where the answer is no.
    """
    eight_bit = _eight_bit(survey)
    lora = eight_bit["lora"]
    if survey["missing_bytes"] or survey["pack_bytes"] or options.is_repair:
        _describe_published(reporter, survey)
    if survey["pack_bytes"]:
        amount = human_bytes(survey["pack_bytes"])
        reporter.fact("pack", f"about {amount} more, in {target.name(survey['pack'])}")
    if lora is not None:
        _describe_lora(reporter, lora)
    if eight_bit["size_bytes"]:
        amount = human_bytes(eight_bit["size_bytes"])
        reporter.fact(
            "8-bit", f"weights, about {amount} more, in {target.name(eight_bit['folder'])}"
        )
    target.announce(survey, reporter)
    if not has_asked or not _is_as_published(lora):
        _ask(target, options, reporter, _question(survey, target.title))


def _is_as_published(lora: Mapping[str, Any] | None) -> bool:
    """Whether a LoRA is the known one, and its page states no other licence than was shown."""
    if lora is None:
        return True
    known = KNOWN_LORAS.get(lora["name"])
    stated = lora["licence"].lower().replace("-", " ")
    return (
        known is not None
        and known.is_at(lora["address"])
        and known.licence.lower().startswith(stated)
    )


def _describe_published(reporter: Reporter, survey: Mapping[str, Any]) -> None:
    for each in survey["repositories"]:
        amount = f"{human_count(each['files'], 'file')}, {human_bytes(each['size_bytes'])}"
        reporter.fact("from", f"{each['repo']} at {each['commit'][:12]}: {amount}")
    # An app that was deployed by an earlier version compares nothing.
    for each in survey.get("differences", ()):
        found, expected = human_bytes(each["size_bytes"]), human_bytes(each["expected_bytes"])
        reporter.warn(f"{each['part']}: the hub lists {found}, expected {expected}")
    missing, size = survey["missing_bytes"], survey["size_bytes"]
    reporter.fact("fetch", f"{human_bytes(missing)} of {human_bytes(size)}")
    if missing < size:
        reporter.fact("resumed", f"{human_bytes(size - missing)} already fetched")


def _question(survey: Mapping[str, Any], title: str) -> str:
    """Whether to do what was announced."""
    eight_bit = _eight_bit(survey)
    lora, written = eight_bit["lora"], survey["pack_bytes"] + eight_bit["size_bytes"]
    fetched = survey["missing_bytes"] + (0 if lora is None else lora["size_bytes"])
    if (not fetched and survey["pack_bytes"]) or not added_bytes(survey):
        return f"Check and pack the files in {title}?"
    work = [f"fetch {human_bytes(fetched)}"] if fetched else []
    work += [f"write {human_bytes(written)}"] if eight_bit["size_bytes"] else []
    terms = "" if lora is None else f", with {_describe_terms(lora)}"
    question = f"{' and '.join(work)} into {title}{terms}?"
    return question[0].upper() + question[1:]


def _ask(
    target: WeightsTarget, options: DownloadOptions, reporter: Reporter, question: str
) -> None:
    if options.assume_yes:
        return
    if not reporter.can_ask:
        facts = {**target.facts, "option": "--yes"}
        raise UsageError(
            f"{question} This is not a terminal: pass --yes", code="E_USAGE", facts=facts
        )
    if not reporter.confirm(question):
        raise RefusedError("nothing was changed", code="E_DECLINED")


def _commits(answer: Mapping[str, Any]) -> dict[str, str]:
    return {each["repo"]: each["commit"] for each in answer["repositories"]}


def _complete(
    target: WeightsTarget,
    options: DownloadOptions,
    reporter: Reporter,
    size_bytes: int,
    revisions: Mapping[str, str],
) -> DownloadedWeights:
    text = f"everything is already in {target.title}, {human_bytes(size_bytes)}"
    reporter.fact("complete", text)
    answer = {
        "pack": target.packs["bf16"],
        "fetched_bytes": 0,
        "size_bytes": size_bytes,
        "eight_bit": _task(options, DOWNLOAD, {}).eight_bit,
    }
    return _downloaded(target, options, answer, revisions)


def _downloaded(
    target: WeightsTarget,
    options: DownloadOptions,
    answer: Mapping[str, Any],
    revisions: Mapping[str, str],
) -> DownloadedWeights:
    return DownloadedWeights(
        pack=target.name(answer["pack"]),
        fetched_bytes=answer["fetched_bytes"],
        size_bytes=answer["size_bytes"],
        revisions=dict(revisions),
        price_usd=answer.get("price_usd"),
        target=target.facts,
        preset=options.preset,
        eight_bit=target.name(answer["eight_bit"]) if options.preset else "",
    )


# A folder that was downloaded


def verify(target: WeightsTarget, reporter: Reporter) -> VerifiedWeights:
    """Checks every file's sha256. Raises SetupError E_WEIGHTS with the names of wrong ones."""
    answer = _answer_about(target, WeightsTask(kind="verify"), reporter)
    names = answer["wrong"]
    if names:
        raise SetupError(
            "\n".join([f"{human_count(len(names), 'file')} missing or damaged:", *names]),
            code="E_WEIGHTS",
            facts={**target.facts, "damaged": len(names)},
        )
    return VerifiedWeights(files=answer["files"], size_bytes=answer["size_bytes"])


def list_files(target: WeightsTarget, reporter: Reporter) -> ListedWeights:
    """Each file, LoRA and pack with its state."""
    answer = _answer_about(target, WeightsTask(kind="list"), reporter)
    return ListedWeights(
        files=tuple(
            ListedFile(
                name=each["file"],
                size_bytes=each["size_bytes"],
                held_bytes=each["held_bytes"],
                is_complete=each["is_complete"],
            )
            for each in (*answer["files"], *answer["loras"])
        ),
        packs={
            precision: ListedFile(
                name=f"{pack['folder']}/",
                size_bytes=pack["size_bytes"],
                held_bytes=pack["size_bytes"],
                is_complete=pack["is_complete"],
                is_outdated=pack.get("is_outdated", False),
            )
            for precision, pack in answer["packs"].items()
        },
        revisions=answer["revisions"],
    )


def prune(target: WeightsTarget, options: DownloadOptions, reporter: Reporter) -> PrunedWeights:
    """Removes files of earlier downloads and packs, after asking."""
    answer = _answer_about(target, WeightsTask(kind="strays"), reporter)
    sizes = {each["file"]: each["size_bytes"] for each in answer["strays"]}
    removed: Sequence[str] = ()
    for name, size in sizes.items():
        reporter.fact("stray", f"{name}, {human_bytes(size)}")
    if sizes:
        total = human_bytes(sum(sizes.values()))
        _ask(target, options, reporter, f"Remove {human_count(len(sizes), 'file')}, {total}?")
        removed = target.run(WeightsTask(kind="prune", names=tuple(sizes)), reporter)["removed"]
    return PrunedWeights(
        removed=tuple(target.name(name) for name in removed),
        size_bytes=sum(sizes[name] for name in removed),
    )


def _answer_about(
    target: WeightsTarget, task: WeightsTask, reporter: Reporter
) -> Mapping[str, Any]:
    """The answer about a folder. Raises SetupError E_WEIGHTS if the folder holds no download."""
    answer = target.run(task, reporter)
    if not answer["is_there"]:
        message = f"{target.title} holds no download"
        raise SetupError(message, code="E_WEIGHTS", facts=target.facts)
    return answer


# LoRAs


def add_lora(
    target: WeightsTarget, options: DownloadOptions, lora: str, reporter: Reporter
) -> AddedLora:
    """Adds a LoRA, after its licence was shown and accepted."""
    target.prepare(lambda text: _ask(target, options, reporter, text), reporter, is_all=False)
    found = target.run(WeightsTask(kind="survey_lora", lora=lora), reporter)
    name = found["name"]
    pack = target.name(target.packs["bf16"])
    _describe_lora(reporter, found)
    if found["is_there"]:
        reporter.note("already there")
        file = target.name(f"loras/{name}.safetensors")
        return AddedLora(name=name, file=file, fetched_bytes=0, pack=pack, target=target.facts)
    if found["replaces"]:
        reporter.fact("replaces", f"another LoRA called {name}")
    _ask(target, options, reporter, f"Fetch {_describe_terms(found)} into {target.title}?")
    task = WeightsTask(kind="add_lora", names=(name,), lora=found["address"])
    added = target.run(task, reporter)
    return AddedLora(
        name=name,
        file=target.name(added["file"]),
        fetched_bytes=added["size_bytes"],
        pack=pack,
        target=target.facts,
        sha256=added["sha256"],
        licence=added["licence"],
    )


def _describe_lora(reporter: Reporter, found: Mapping[str, Any]) -> None:
    """Reports a LoRA, its origin and its licence."""
    name, licence = found["name"], found["licence"]
    reporter.fact("lora", f"{name}, {human_bytes(found['size_bytes'])}")
    reporter.fact("from", found["shown"])
    known = KNOWN_LORAS.get(name)
    if known is not None and known.warning and known.is_at(found["address"]):
        reporter.warn(f"{name} {known.warning}")
    reporter.fact("licence", licence or "none stated: check yourself whether you may use it")


def _describe_terms(found: Mapping[str, Any]) -> str:
    licence = found["licence"]
    terms = f"under {licence}" if licence else "without a stated licence"
    return f"{found['name']} {terms}"
