"""The order of the work of `setup-secrets`: collect, look, ask, try, save, say what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from multitalk_cli import settings
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.deploy import deploy_app, plan_again
from multitalk_cli.cloud.errors import AppRef, deploy_command
from multitalk_cli.cloud.readiness import next_command
from multitalk_cli.cloud.secrets import account
from multitalk_cli.cloud.secrets.keys import (
    AWS,
    BUCKET,
    ENDPOINT,
    KEY_ID,
    KEY_TOKEN,
    REGION,
    SECRET_SPECS,
    SHOWN,
    SecretSpec,
    check_together,
    clean,
    missing,
)
from multitalk_cli.cloud.secrets.sources import SourcedValue, Sources, collect
from multitalk_cli.cloud.secrets.verify import verify_secret
from multitalk_cli.errors import (
    FileError,
    MultitalkError,
    SetupError,
    UsageError,
    error_from_code,
)
from multitalk_cli.reporting.formatting import human_count
from multitalk_cli.reporting.reporter import Reporter

_ATTEMPTS = 3
_TYPED, _OPTIONS, _SETTING = "the terminal", "the options", "the setting bucket"
_OPTION_OF = {BUCKET: "--bucket", REGION: "--region", ENDPOINT: "--endpoint-url"}
_HERE = ("//127.", "//localhost", "//[::1]", "//0.0.0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOptions:
    """What was asked for. only: "" for both. given: what options say, of keys that may be shown."""

    place: AppRef
    sources: Sources
    only: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    update: bool = False
    force: bool = False
    verify: bool = True

    def command(self, *options: str, kind: SecretSpec | None = None) -> str:
        """This command again, with other options; for one secret alone where that is named."""
        only = self.only if kind is None else kind.option
        words = ["--only", only] if only else []
        environment = self.place.environment
        words += ["--environment", environment] if environment else []
        for key, value in self.given.items():
            if kind is None or key in kind.keys:
                words += [_OPTION_OF[key], value]
        # A pipe is empty by then: the values are asked for.
        sources = [word for word in self.sources.options if word != "--stdin"]
        return shlex.join(["multitalk", "setup-secrets", *words, *sources, *options])

    @property
    def flags(self) -> list[str]:
        """What becomes of a secret that exists."""
        return ["--update"] * self.update + ["--force"] * self.force


@dataclass(slots=True, kw_only=True)
class PendingSecret:
    """A secret before it is saved. kept: keys that the account's has, None where it has none."""

    kind: SecretSpec
    kept: frozenset[str] | None
    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def set_up(wish: SecretOptions, reporter: Reporter) -> None:
    """Does all of it; nothing is saved before everything has been tried."""
    reporter.leaving = "interrupted; nothing was saved"
    given = _collect(wish, reporter)
    kinds = _wanted(wish, given, reporter)
    modal_config.require_token()
    modal_config.require_network()
    account.require_environment(wish.place)
    drafts = [_look(wish.place, kind) for kind in kinds]
    _refuse_existing(wish, drafts)
    for draft in drafts:
        reporter.fact(draft.kind.label, _describe(draft))
        _fill(wish, draft, given, reporter)
    drafts = [draft for draft in drafts if draft.values]
    for draft in drafts:
        _check(wish, draft, reporter)
    if drafts and wish.verify:
        reporter.note("trying these; nothing is saved before they work")
    for draft in drafts:
        _try(wish, draft, reporter)
    saved = [_save(wish, draft, reporter) for draft in drafts]
    _keep_bucket(drafts, reporter)
    following = _follow(wish, drafts, reporter)
    reporter.note(f"next:  {following}")
    data = {"environment": wish.place.environment, "secrets": saved, "next": following}
    reporter.succeed("setup-secrets", data, [draft.kind.name for draft in drafts])


# What is given


def _collect(wish: SecretOptions, reporter: Reporter) -> dict[str, SourcedValue]:
    """What sources and options say, cleaned; what is secret is hidden from then on."""
    found = collect(wish.sources)
    found |= {key: SourcedValue(raw=value, source=_OPTIONS) for key, value in wish.given.items()}
    reporter.hide(given.raw.strip() for key, given in found.items() if key not in SHOWN)
    cleaned: dict[str, SourcedValue] = {}
    for key, given in found.items():
        if given.name:
            reporter.adjusted(f"{given.name} is kept as {key}")
        cleaned[key] = replace(given, raw=_cleaned(key, given.raw, reporter))
    return cleaned


def _cleaned(key: str, raw: str, reporter: Reporter) -> str:
    cleaned = clean(key, raw)
    if key not in SHOWN:
        reporter.hide([cleaned.value])
    if cleaned.removed:
        reporter.adjusted(f"{key}: {' and '.join(cleaned.removed)} removed")
    return cleaned.value


def _wanted(
    wish: SecretOptions, given: Mapping[str, SourcedValue], reporter: Reporter
) -> list[SecretSpec]:
    """Which secrets are meant. Raises UsageError E_SECRET_SOURCE where nothing says."""
    if not wish.sources.options and not reporter.can_ask:
        raise UsageError(
            "values are asked for on a terminal, and here is none",
            code="E_SECRET_SOURCE",
            hint=wish.command("--from-env"),
        )
    if wish.only:
        return [SECRET_SPECS[wish.only]]
    if not wish.sources.options:
        return [*SECRET_SPECS.values()]
    kinds = [kind for kind in SECRET_SPECS.values() if any(key in given for key in kind.required)]
    if not kinds:
        names = ", ".join(key for kind in SECRET_SPECS.values() for key in kind.required)
        message = f"{' and '.join(wish.sources.options)} has none of {names}"
        raise UsageError(message, code="E_SECRET_SOURCE")
    return kinds


# What is there


def _look(place: AppRef, kind: SecretSpec) -> PendingSecret:
    return PendingSecret(kind=kind, kept=account.find_keys(place, kind.name, kind.keys))


def _describe(draft: PendingSecret) -> str:
    """Which of the known keys the account's secret has."""
    kind, kept = draft.kind, draft.kept
    if kept is None:
        return f"not set up; optional, for {kind.what}"
    has = ", ".join(key for key in kind.keys if key in kept)
    lacks = ", ".join(key for key in kind.required if key not in kept)
    return f"{kind.name} has {has or 'none of its keys'}{f'; it lacks {lacks}' if lacks else ''}"


def _refuse_existing(wish: SecretOptions, drafts: Sequence[PendingSecret]) -> None:
    """Raises FileError E_SECRET_EXISTS where it was not said what becomes of a secret."""
    existing = [draft for draft in drafts if draft.kept is not None]
    if wish.update or wish.force or not existing:
        return
    names = " and ".join(draft.kind.name for draft in existing)
    absent = [wish.command(kind=draft.kind) for draft in drafts if draft.kept is None]
    only = existing[0].kind if len(existing) == 1 else None
    raise FileError(
        "\n".join([f"Modal has {names} already", *map(_describe, existing)]),
        code="E_SECRET_EXISTS",
        hint="\n".join([*absent, wish.command("--update", kind=only)]),
    )


# What is still needed


def _fill(
    wish: SecretOptions, draft: PendingSecret, given: Mapping[str, SourcedValue], reporter: Reporter
) -> None:
    """Gives the draft what there is, and asks for the rest; a secret that may be left out stays
    empty.
    """
    for key in draft.kind.keys:
        if key in given:
            _set(draft, key, given[key].raw, given[key].source)
    is_partial = wish.update and not wish.verify
    if draft.kind is AWS and not is_partial and BUCKET not in draft.values:
        bucket = str(settings.load_settings()["bucket"])
        if bucket:
            _set(draft, BUCKET, _cleaned(BUCKET, bucket, reporter), _SETTING)
    lacking = _lacking(wish, draft)
    if lacking and not reporter.can_ask:
        raise SetupError(
            f"{draft.kind.name} lacks {', '.join(lacking)}",
            code="E_SECRET_VALUE",
            hint=_hint_for(wish, draft.kind, lacking),
        )
    while lacking:
        may_skip = lacking[0] == draft.kind.required[0] and not wish.only
        value = _ask(lacking[0], may_skip=may_skip, reporter=reporter)
        if value is None:
            reporter.fact(draft.kind.label, "left out")
            draft.values.clear()
            return
        _set(draft, lacking[0], value, _TYPED)
        lacking = _lacking(wish, draft)


def _set(draft: PendingSecret, key: str, value: str, source: str) -> None:
    draft.values[key], draft.sources[key] = value, source


def _lacking(wish: SecretOptions, draft: PendingSecret) -> list[str]:
    """What must still be given. What the account has cannot be read, so that it cannot be tried."""
    kept = draft.kept if draft.kept is not None and wish.update and not wish.verify else ()
    return [key for key in missing(draft.kind, draft.values) if key not in kept]


def _hint_for(wish: SecretOptions, kind: SecretSpec, lacking: Sequence[str]) -> str:
    if list(lacking) == [BUCKET]:
        return wish.command("--bucket", "NAME", kind=kind)
    return SecretOptions(place=wish.place, sources=Sources()).command(kind=kind)


def _ask(key: str, *, may_skip: bool, reporter: Reporter) -> str | None:
    """What is typed for a key; None where it was left out with Enter alone."""
    notes = [
        *([] if key in SHOWN else ["not shown"]),
        *(["Enter leaves it out"] if may_skip else []),
    ]
    question = f"{key} ({', '.join(notes)})" if notes else key
    problem = SetupError(f"{key} is empty", code="E_SECRET_VALUE")
    for _ in range(_ATTEMPTS):
        raw = reporter.ask(question) if key in SHOWN else reporter.ask_hidden(question)
        if may_skip and not raw.rstrip("\n"):
            return None
        try:
            return _cleaned(key, raw, reporter)
        except SetupError as error:
            reporter.note(error.message)
            problem = error
    raise problem


# Trying and saving


def _check(wish: SecretOptions, draft: PendingSecret, reporter: Reporter) -> None:
    """Raises SetupError E_SECRET_VALUE for what could never work together."""
    check_together(draft.values)
    for source in dict.fromkeys(draft.sources.values()):
        keys = ", ".join(key for key, where in draft.sources.items() if where == source)
        if source not in (_TYPED, _OPTIONS):
            reporter.fact(draft.kind.label, f"{keys} from {source}")
    stale = [
        key
        for key in (KEY_TOKEN, ENDPOINT)
        if draft.kept is not None and key in draft.kept and key not in draft.values
    ]
    if wish.update and stale and KEY_ID in draft.values:
        raise SetupError(
            f"{draft.kind.name} would keep its {stale[0]}, which may not belong to the new keys",
            code="E_SECRET_VALUE",
            hint=wish.command("--force", kind=draft.kind),
        )
    if KEY_TOKEN in draft.values:
        reporter.warn("these are keys of a session: videos cannot be stored once it has ended")
    if any(place in draft.values.get(ENDPOINT, "") for place in _HERE):
        reporter.warn(f"{ENDPOINT} is this machine, where the cloud finds nothing")


def _try(wish: SecretOptions, draft: PendingSecret, reporter: Reporter) -> None:
    """Tries the values, and takes the region over where the store tells it."""
    if not wish.verify:
        reporter.warn(f"{draft.kind.name} is not tried")
        return
    try:
        trial = verify_secret(draft.kind, draft.values)
    except MultitalkError as error:
        again = wish.command(*wish.flags, kind=draft.kind)
        details = "Nothing was saved. With --no-verify it is saved without being tried."
        message = f"{draft.kind.name}: {error.message}\n{details}"
        raise error_from_code(error.code, message, again) from error
    reporter.fact(draft.kind.label, trial.seen)
    old = draft.values.get(REGION)
    if draft.kind is AWS and trial.region is not None and trial.region != old:
        instead = "" if old is None else f" in place of {old}"
        reporter.adjusted(f"{REGION} is {trial.region}{instead}: the bucket is there")
        _set(draft, REGION, trial.region, "the store")


def _save(wish: SecretOptions, draft: PendingSecret, reporter: Reporter) -> dict[str, Any]:
    """Saves a secret, and gives what a program may know of it."""
    name = draft.kind.name
    if draft.kept is None:
        action = "created"
        account.create(wish.place, name, draft.values)
    elif wish.update:
        action = "updated"
        account.merge(wish.place, name, draft.values)
    else:
        action = "replaced"
        account.replace(wish.place, name, draft.values)
    reporter.leaving = f"interrupted; {name} was saved"
    reporter.fact(draft.kind.label, f"{action} {name} with {human_count(len(draft.values), 'key')}")
    return {
        "name": name,
        "action": action,
        "keys": [*draft.values],
        "sources": draft.sources,
        "tried": wish.verify,
    }


def _keep_bucket(drafts: Sequence[PendingSecret], reporter: Reporter) -> None:
    """Makes the bucket the one of `multitalk s3`, for this user."""
    for bucket in (draft.values[BUCKET] for draft in drafts if BUCKET in draft.values):
        if settings.load_settings()["bucket"] == bucket:
            continue
        file = settings.user_file()
        settings.save_setting(file, settings.SETTINGS["bucket"], bucket)
        reporter.fact("bucket", f"{bucket} is what multitalk s3 takes ({file})")
        chosen = settings.load_settings()
        if chosen["bucket"] != bucket:
            reporter.warn(f"{chosen.origin('bucket')} says {chosen['bucket']}, which goes first")


def _follow(wish: SecretOptions, drafts: Sequence[PendingSecret], reporter: Reporter) -> str:
    """Deploys again where the user says so; gives the next command."""
    cloud = Cloud(wish.place)
    try:
        record = cloud.deployment()
    except MultitalkError:
        record = None
    if record is not None and _is_outdated(record, wish, drafts, reporter):
        if not reporter.can_ask or not reporter.confirm(
            "The app has it after a deploy. Deploy now?"
        ):
            return deploy_command(wish.place, record)
        with reporter.redirect_stdout():
            deploy_app(cloud, plan_again(wish.place, record), show_build=not reporter.is_quiet)
    try:
        return next_command(cloud).partition("\n")[0]
    except MultitalkError:
        # Everything is saved: that the way on cannot be seen is no failure.
        return "multitalk status"


def _is_outdated(
    record: Mapping[str, Any],
    wish: SecretOptions,
    drafts: Sequence[PendingSecret],
    reporter: Reporter,
) -> bool:
    """Whether the deployed app lacks a secret as it is now: it has those that it was made with."""
    names, known = {draft.kind.name for draft in drafts}, set(record.get("secrets", ()))
    if wish.force and names & known:
        reporter.warn("the deployed app refers to the secret that was there; deploy it again")
        return True
    return bool(names - known)
