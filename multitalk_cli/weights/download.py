"""The order of the work of `multitalk download`, the same on this machine and in the cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from multitalk_cli.contract.weights_task import Precision, WeightsTask
from multitalk_cli.errors import InterruptedRunError, SetupError, UsageError
from multitalk_cli.reporting.formatting import align, human_bytes, human_count, human_money

if TYPE_CHECKING:
    from collections.abc import Callable

    from multitalk_cli.cloud.pack import DeployedPack
    from multitalk_cli.reporting.reporter import Reporter


class WeightsTarget(Protocol):
    """A folder of weights, and where work on it runs."""

    title: str
    packs: Mapping[Precision, str]

    def command(self, *options: str) -> str:
        """The command for this folder, with other options."""

    def name(self, file: str) -> str:
        """What a file of the folder is called."""

    def next_command(self, pack: str) -> str:
        """What a pack is good for."""

    def prepare(self, ask: Callable[[str], None], reporter: Reporter, *, is_all: bool) -> bool:
        """Sets up what is needed, after asking; tells whether it asked.

        is_all: whether the model's weights are what is to be fetched.
        """

    def attach(self, precision: Precision, reporter: Reporter) -> Mapping[str, Any] | None:
        """Follows the download that runs; None where there is none."""

    def find_pack(self, precision: Precision) -> DeployedPack | None:
        """The finished pack, where it is quicker found than all else that is there."""

    def announce(self, survey: Mapping[str, Any], reporter: Reporter) -> None:
        """Says what it takes beside the bytes."""

    def do(self, task: WeightsTask, reporter: Reporter) -> Mapping[str, Any]:
        """Does a task and gives its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """What was asked for. revisions: repository -> branch or commit."""

    precision: Precision = "bf16"
    assume_yes: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    is_repair: bool = False


def download(place: WeightsTarget, wish: DownloadOptions, reporter: Reporter) -> None:
    """Fetches what is missing, packs it, and says what to do next."""
    has_asked = place.prepare(lambda text: _ask(place, wish, reporter, text), reporter, is_all=True)
    if not wish.is_repair and (_attached(place, wish, reporter) or _found(place, wish, reporter)):
        return
    survey = place.do(_task(wish, "survey", wish.revisions), reporter)
    if survey["is_packed"] and not survey["missing_bytes"] and not wish.is_repair:
        _report_complete(place, wish, reporter, survey["size_bytes"], _commits(survey))
        return
    _announce(place, wish, reporter, survey, has_asked=has_asked)
    # The very commits that were shown.
    task = _task(wish, "bring", _commits(survey))
    answer = place.do(task, reporter)
    for name in answer["repaired"]:
        reporter.fact("repaired", name)
    _report(place, wish, reporter, answer, _commits(answer))


def _task(wish: DownloadOptions, kind: Any, revisions: Mapping[str, str]) -> WeightsTask:
    named = tuple(f"{repo}={commit}" for repo, commit in revisions.items())
    return WeightsTask(
        kind=kind, precision=wish.precision, revisions=named, is_repair=wish.is_repair
    )


def _attached(place: WeightsTarget, wish: DownloadOptions, reporter: Reporter) -> bool:
    """Follows a download that runs already; tells whether it did all that was asked for."""
    answer = place.attach(wish.precision, reporter)
    if answer is None or answer["precision"] != wish.precision or wish.revisions:
        return False
    _report(place, wish, reporter, answer, _commits(answer))
    return True


def detached(place: WeightsTarget, reporter: Reporter) -> None:
    """Says how to come back to a download that goes on."""
    reporter.note(f"the download goes on; come back to it:  {place.command()}")
    reporter.note(f"stop it:  {place.command('--cancel')}")
    reporter.succeed("download", {"detached": True}, [])


def _announce(
    place: WeightsTarget,
    wish: DownloadOptions,
    reporter: Reporter,
    survey: Mapping[str, Any],
    *,
    has_asked: bool,
) -> None:
    """Says what is going to be fetched and how much, and asks once.

    Raises UsageError where nobody can be asked, InterruptedRunError where the answer is no.
    """
    for each in survey["repositories"]:
        amount = f"{human_count(each['files'], 'file')}, {human_bytes(each['size_bytes'])}"
        reporter.fact("from", f"{each['repo']} at {each['commit'][:12]}: {amount}")
    missing, size = survey["missing_bytes"], survey["size_bytes"]
    reporter.fact("fetch", f"{human_bytes(missing)} of {human_bytes(size)}")
    if missing < size:
        reporter.fact("resumed", f"{human_bytes(size - missing)} are there already")
    if survey["pack_bytes"]:
        amount = human_bytes(survey["pack_bytes"])
        reporter.fact("pack", f"about {amount} more, in {place.name(survey['pack'])}")
    place.announce(survey, reporter)
    work = f"Fetch {human_bytes(missing)} into" if missing else "Check and pack what is in"
    if not has_asked:
        _ask(place, wish, reporter, f"{work} {place.title}?")


def _ask(place: WeightsTarget, wish: DownloadOptions, reporter: Reporter, question: str) -> None:
    if wish.assume_yes:
        return
    if not reporter.can_ask:
        hint = place.command("--yes")
        raise UsageError("nobody is there to be asked", code="E_USAGE", hint=hint)
    if not reporter.confirm(question):
        raise InterruptedRunError("nothing was changed", code="E_INTERRUPTED")


def _found(place: WeightsTarget, wish: DownloadOptions, reporter: Reporter) -> bool:
    """Tells whether the pack is there already, of the commits that were asked for."""
    pack = place.find_pack(wish.precision)
    if pack is None or not wish.revisions.items() <= pack.revisions.items():
        return False
    _report_complete(place, wish, reporter, pack.size_bytes, pack.revisions)
    return True


def _commits(answer: Mapping[str, Any]) -> dict[str, str]:
    return {each["repo"]: each["commit"] for each in answer["repositories"]}


def _report_complete(
    place: WeightsTarget,
    wish: DownloadOptions,
    reporter: Reporter,
    size_bytes: int,
    revisions: Mapping[str, str],
) -> None:
    reporter.fact("complete", f"everything is in {place.title} already, {human_bytes(size_bytes)}")
    answer = {"pack": place.packs[wish.precision], "fetched_bytes": 0, "size_bytes": size_bytes}
    _report(place, wish, reporter, answer, revisions)


def _report(
    place: WeightsTarget,
    wish: DownloadOptions,
    reporter: Reporter,
    answer: Mapping[str, Any],
    revisions: Mapping[str, str],
) -> None:
    pack = place.name(answer["pack"])
    data = {
        "pack": pack,
        "precision": wish.precision,
        "fetched_bytes": answer["fetched_bytes"],
        "size_bytes": answer["size_bytes"],
        "revisions": dict(revisions),
    }
    if "price_usd" in answer:
        reporter.fact("cost", human_money(answer["price_usd"]))
        data["price_usd"] = round(answer["price_usd"], 4)
    reporter.note(f"next:  {place.next_command(answer['pack'])}")
    reporter.succeed("download", data, [pack])


# What is there


def check(place: WeightsTarget, reporter: Reporter) -> None:
    """Compares every file with its sha256. Raises SetupError E_WEIGHTS naming those that differ."""
    answer = _of_what_is_there(place, WeightsTask(kind="verify"), reporter)
    names = answer["wrong"]
    if names:
        raise SetupError(
            "\n".join([f"{human_count(len(names), 'file')} absent or damaged:", *names]),
            code="E_WEIGHTS",
            hint=place.command("--repair", "--yes"),
        )
    amount = f"{human_count(answer['files'], 'file')}, {human_bytes(answer['size_bytes'])}"
    reporter.succeed(
        "download", {"verified": answer["files"]}, [f"{amount}: all as the hub listed them"]
    )


def show(place: WeightsTarget, reporter: Reporter) -> None:
    """Shows each file's size and state, and which packs and LoRAs there are."""
    answer = _of_what_is_there(place, WeightsTask(kind="list"), reporter)
    files = [*answer["files"], *answer["loras"]]
    rows = [(each["file"], human_bytes(each["size_bytes"]), _word(each)) for each in files]
    packs = [
        (f"{pack['folder']}/", human_bytes(pack["size_bytes"]), _word_of_pack(pack))
        for pack in answer["packs"].values()
    ]
    data = {
        "files": [{"file": file, "size": size, "state": state} for file, size, state in rows],
        "packs": {name: pack["is_complete"] for name, pack in answer["packs"].items()},
        "revisions": answer["revisions"],
    }
    reporter.succeed("download", data, align([*rows, *packs]))


def _word(file: Mapping[str, Any]) -> str:
    if file["is_complete"]:
        return "complete"
    held: int = file["held_bytes"]
    return f"{100 * held // max(1, file['size_bytes'])} %" if held else "absent"


def _word_of_pack(pack: Mapping[str, Any]) -> str:
    if pack["is_complete"]:
        return "complete"
    return "begun" if pack["size_bytes"] else "absent"


def prune(place: WeightsTarget, wish: DownloadOptions, reporter: Reporter) -> None:
    """Removes files of earlier downloads and packings, after asking."""
    answer = _of_what_is_there(place, WeightsTask(kind="strays"), reporter)
    sizes = {each["file"]: each["size_bytes"] for each in answer["strays"]}
    removed: Sequence[str] = ()
    for name, size in sizes.items():
        reporter.fact("stray", f"{name}, {human_bytes(size)}")
    if sizes:
        total = human_bytes(sum(sizes.values()))
        _ask(place, wish, reporter, f"Remove {human_count(len(sizes), 'file')}, {total}?")
        removed = place.do(WeightsTask(kind="prune", names=tuple(sizes)), reporter)["removed"]
    size = sum(sizes[name] for name in removed)
    line = f"{human_count(len(removed), 'file')} removed, {human_bytes(size)}"
    data = {"removed": [place.name(name) for name in removed], "size_bytes": size}
    reporter.succeed("download", data, [line])


def _of_what_is_there(
    place: WeightsTarget, task: WeightsTask, reporter: Reporter
) -> Mapping[str, Any]:
    """The answer about a folder. Raises SetupError E_WEIGHTS where nothing is in it."""
    answer = place.do(task, reporter)
    if not answer["is_there"]:
        raise SetupError(f"{place.title} holds no download", code="E_WEIGHTS", hint=place.command())
    return answer


# LoRAs


def add_lora(place: WeightsTarget, wish: DownloadOptions, lora: str, reporter: Reporter) -> None:
    """Adds a LoRA; its licence is shown, and agreed to, before a byte of it is fetched."""
    place.prepare(lambda text: _ask(place, wish, reporter, text), reporter, is_all=False)
    found = place.do(WeightsTask(kind="survey_lora", lora=lora), reporter)
    name = found["name"]
    reporter.fact("lora", f"{name}, {human_bytes(found['size_bytes'])}")
    reporter.fact("from", found["shown"])
    licence = found["licence"]
    reporter.fact("licence", licence or "none is stated: whether you may use it, you have to know")
    if found["is_there"]:
        reporter.note("it is there already")
        data = {"lora": name, "file": place.name(f"loras/{name}.safetensors"), "fetched_bytes": 0}
        reporter.succeed("download", data, [data["file"]])
        return
    if found["replaces"]:
        reporter.fact("replaces", f"another LoRA of the name {name}")
    terms = f"under {licence}" if licence else "without a stated licence"
    _ask(place, wish, reporter, f"Fetch {name} {terms} into {place.title}?")
    added = place.do(WeightsTask(kind="add_lora", names=(name,), lora=found["address"]), reporter)
    file = place.name(added["file"])
    data = {
        "lora": name,
        "file": file,
        "fetched_bytes": added["size_bytes"],
        "sha256": added["sha256"],
        "licence": added["licence"],
    }
    reporter.succeed("download", data, [file])
