"""The work of `setup-secrets`: collect values, ask for the rest, verify, save, deploy again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from multitalk_cli import settings
from multitalk_cli.cloud import modal_config, network
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.deploy import deploy_app, plan_again
from multitalk_cli.cloud.errors import AppRef, deploy_facts
from multitalk_cli.cloud.readiness import find_obstacle
from multitalk_cli.cloud.secrets import account
from multitalk_cli.cloud.secrets.keys import check_together, clean, missing
from multitalk_cli.cloud.secrets.sources import SourcedValue, Sources, collect
from multitalk_cli.cloud.secrets.verify import verify_secret
from multitalk_cli.contract.secrets import (
    AWS_SPEC,
    BUCKET,
    ENDPOINT,
    KEY_ID,
    KEY_TOKEN,
    REGION,
    SECRET_SPECS,
    SHOWN,
    SecretSpec,
)
from multitalk_cli.errors import FileError, MultitalkError, SetupError, UsageError
from multitalk_cli.reporting.formatting import human_choice, human_count
from multitalk_cli.reporting.reporter import Reporter

_ATTEMPTS = 3
_TYPED, _OPTIONS, _SETTING = "the terminal", "the options", "the setting bucket"
_LOCAL_HOSTS = ("//127.", "//localhost", "//[::1]", "//0.0.0.0")

Action = Literal["created", "updated", "replaced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOptions:
    """A request to set secrets up.

    only: the option of a secret, "" for all. given: values of keys that may be shown. update: keep
    the other keys of an existing secret. force: replace an existing secret.
    """

    place: AppRef
    sources: Sources
    only: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    update: bool = False
    force: bool = False
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSecret:
    """A secret that was saved: its keys and where their values came from, never the values."""

    name: str
    action: Action
    sources: Mapping[str, str]
    is_verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsResult:
    """The saved secrets, and the state of the app afterwards.

    obstacle: the reason why the app cannot make a video yet, None if it can. is_known: whether that
    could be found out.
    """

    environment: str
    saved: tuple[SavedSecret, ...]
    obstacle: MultitalkError | None
    is_known: bool = True


@dataclass(slots=True, kw_only=True)
class PendingSecret:
    """A secret before it is saved.

    existing: keys of the account's secret of that name; None without one. values, sources: of each
    key.
    """

    spec: SecretSpec
    existing: frozenset[str] | None
    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: str, source: str) -> None:
        """Sets the value of a key."""
        self.values[key], self.sources[key] = value, source

    def describe(self) -> str:
        """The known keys of the account's secret, in words."""
        if self.existing is None:
            return f"not set up; optional, for {self.spec.purpose}"
        has = ", ".join(key for key in self.spec.keys if key in self.existing)
        lacks = ", ".join(key for key in self.spec.required if key not in self.existing)
        lacking = f"; it lacks {lacks}" if lacks else ""
        return f"{self.spec.name} has {has or 'none of its keys'}{lacking}"


def set_up(options: SecretOptions, reporter: Reporter) -> SecretsResult:
    """Sets secrets up; nothing is saved before everything has been verified."""
    reporter.leaving = "interrupted; nothing was saved"
    given = _collect(options, reporter)
    specs = _choose_specs(options, given, reporter)
    modal_config.require_token()
    network.require_network()
    account.require_environment(options.place)
    secrets = [
        PendingSecret(spec=spec, existing=account.find_keys(options.place, spec.name, spec.keys))
        for spec in specs
    ]
    _refuse_existing(options, secrets)
    for secret in secrets:
        reporter.fact(secret.spec.label, secret.describe())
        _fill(options, secret, given, reporter)
    secrets = [secret for secret in secrets if secret.values]
    for secret in secrets:
        _check(options, secret, reporter)
    if secrets and options.verify:
        reporter.note("verifying before saving")
    for secret in secrets:
        _verify(options, secret, reporter)
    saved = tuple(_save(options, secret, reporter) for secret in secrets)
    _keep_bucket(secrets, reporter)
    return _continue(options, saved, reporter)


# Given values


def _collect(options: SecretOptions, reporter: Reporter) -> dict[str, SourcedValue]:
    """Cleaned values of sources and options; the secret ones are hidden from here on."""
    found = collect(options.sources)
    found |= {key: SourcedValue(raw=value, source=_OPTIONS) for key, value in options.given.items()}
    reporter.hide(value.raw.strip() for key, value in found.items() if key not in SHOWN)
    cleaned: dict[str, SourcedValue] = {}
    for key, value in found.items():
        if value.name:
            reporter.adjusted(f"{value.name} is saved as {key}")
        cleaned[key] = replace(value, raw=_clean(key, value.raw, reporter))
    return cleaned


def _clean(key: str, raw: str, reporter: Reporter) -> str:
    cleaned = clean(key, raw)
    if key not in SHOWN:
        reporter.hide([cleaned.value])
    if cleaned.removed:
        reporter.adjusted(f"{key}: {' and '.join(cleaned.removed)} removed")
    return cleaned.value


def _choose_specs(
    options: SecretOptions, given: Mapping[str, SourcedValue], reporter: Reporter
) -> list[SecretSpec]:
    """The secrets to set up. Raises UsageError E_SECRET_SOURCE without a source of values."""
    sources = options.sources.names
    if not sources and not reporter.can_ask:
        message = "no source of values is named, and this is not a terminal"
        raise UsageError(message, code="E_SECRET_SOURCE", facts={"needs_source": True})
    if options.only:
        return [SECRET_SPECS[options.only]]
    if not sources:
        return [*SECRET_SPECS.values()]
    specs = [spec for spec in SECRET_SPECS.values() if any(key in given for key in spec.required)]
    if not specs:
        names = ", ".join(key for spec in SECRET_SPECS.values() for key in spec.required)
        message = f"none of {names} is in {human_choice(sources)}"
        raise UsageError(message, code="E_SECRET_SOURCE", facts={"empty_sources": True})
    return specs


def _refuse_existing(options: SecretOptions, secrets: Sequence[PendingSecret]) -> None:
    """Raises FileError E_SECRET_EXISTS for existing secrets without `update` or `force`."""
    existing = [secret for secret in secrets if secret.existing is not None]
    if options.update or options.force or not existing:
        return
    names = " and ".join(secret.spec.name for secret in existing)
    absent = tuple(secret.spec.option for secret in secrets if secret.existing is None)
    lines = [f"Modal has {names} already", *(secret.describe() for secret in existing)]
    raise FileError(
        "\n".join(lines),
        code="E_SECRET_EXISTS",
        facts={"existing": tuple(secret.spec.option for secret in existing), "absent": absent},
    )


# Missing values


def _fill(
    options: SecretOptions,
    secret: PendingSecret,
    given: Mapping[str, SourcedValue],
    reporter: Reporter,
) -> None:
    """Sets the given values and asks for the rest; a secret that the user skips stays empty."""
    for key in secret.spec.keys:
        if key in given:
            secret.set(key, given[key].raw, given[key].source)
    is_partial = options.update and not options.verify
    if secret.spec is AWS_SPEC and not is_partial and BUCKET not in secret.values:
        bucket = str(settings.load_settings()["bucket"])
        if bucket:
            secret.set(BUCKET, _clean(BUCKET, bucket, reporter), _SETTING)
    lacking = _lacking(options, secret)
    if lacking and not reporter.can_ask:
        raise SetupError(
            f"{secret.spec.name} lacks {', '.join(lacking)}",
            code="E_SECRET_VALUE",
            facts={"secret": secret.spec.option, "lacks": tuple(lacking)},
        )
    while lacking:
        may_skip = lacking[0] == secret.spec.required[0] and not options.only
        value = _ask(lacking[0], may_skip=may_skip, reporter=reporter)
        if value is None:
            reporter.fact(secret.spec.label, "skipped")
            secret.values.clear()
            return
        secret.set(lacking[0], value, _TYPED)
        lacking = _lacking(options, secret)


def _lacking(options: SecretOptions, secret: PendingSecret) -> list[str]:
    """Keys without a value. The account's own cannot be read, and thus not be verified."""
    is_partial = options.update and not options.verify
    kept = secret.existing if secret.existing is not None and is_partial else frozenset[str]()
    return [key for key in missing(secret.spec, secret.values) if key not in kept]


def _ask(key: str, *, may_skip: bool, reporter: Reporter) -> str | None:
    """The typed value of a key; None if it was skipped with Enter alone."""
    notes = [*([] if key in SHOWN else ["hidden"]), *(["Enter skips"] if may_skip else [])]
    question = f"{key} ({', '.join(notes)})" if notes else key
    problem = SetupError(f"{key} is empty", code="E_SECRET_VALUE")
    for _ in range(_ATTEMPTS):
        raw = reporter.ask(question) if key in SHOWN else reporter.ask_hidden(question)
        if may_skip and not raw.rstrip("\n"):
            return None
        try:
            return _clean(key, raw, reporter)
        except SetupError as error:
            reporter.note(error.message)
            problem = error
    raise problem


# Verifying and saving


def _check(options: SecretOptions, secret: PendingSecret, reporter: Reporter) -> None:
    """Raises SetupError E_SECRET_VALUE for values that cannot work together."""
    check_together(secret.values)
    for source in dict.fromkeys(secret.sources.values()):
        keys = ", ".join(key for key, where in secret.sources.items() if where == source)
        if source not in (_TYPED, _OPTIONS):
            reporter.fact(secret.spec.label, f"{keys} from {source}")
    existing = frozenset[str]() if secret.existing is None else secret.existing
    stale = [key for key in (KEY_TOKEN, ENDPOINT) if key in existing and key not in secret.values]
    if options.update and stale and KEY_ID in secret.values:
        raise SetupError(
            f"{secret.spec.name} would keep its {stale[0]}, which may not belong to the new keys",
            code="E_SECRET_VALUE",
            facts={"secret": secret.spec.option, "stale": stale[0]},
        )
    if KEY_TOKEN in secret.values:
        reporter.warn("these are keys of a session: videos cannot be stored after it has expired")
    if any(host in secret.values.get(ENDPOINT, "") for host in _LOCAL_HOSTS):
        reporter.warn(f"{ENDPOINT} is this machine, which the cloud cannot reach")


def _verify(options: SecretOptions, secret: PendingSecret, reporter: Reporter) -> None:
    """Uses the values as videos will, and takes the region over from the store."""
    if not options.verify:
        reporter.warn(f"{secret.spec.name} is not verified")
        return
    try:
        verified = verify_secret(secret.spec, secret.values)
    except MultitalkError as error:
        message = (
            f"{secret.spec.name}: {error.message}\nNothing was saved. --no-verify saves anyway."
        )
        facts = {**error.facts, "secret": secret.spec.option}
        raise type(error)(message, code=error.code, facts=facts) from error
    reporter.fact(secret.spec.label, verified.text)
    old = secret.values.get(REGION)
    if verified.region is not None and verified.region != old:
        instead = "" if old is None else f", not {old}"
        reporter.adjusted(f"{REGION} is {verified.region}{instead}: the bucket's region")
        secret.set(REGION, verified.region, "the store")


def _save(options: SecretOptions, secret: PendingSecret, reporter: Reporter) -> SavedSecret:
    name, action = secret.spec.name, _action(options, secret)
    write = {"created": account.create, "updated": account.merge, "replaced": account.replace}
    write[action](options.place, name, secret.values)
    reporter.leaving = f"interrupted; {name} was saved"
    count = human_count(len(secret.values), "key")
    reporter.fact(secret.spec.label, f"{action} {name} with {count}")
    return SavedSecret(
        name=name, action=action, sources=dict(secret.sources), is_verified=options.verify
    )


def _action(options: SecretOptions, secret: PendingSecret) -> Action:
    if secret.existing is None:
        return "created"
    return "updated" if options.update else "replaced"


def _keep_bucket(secrets: Sequence[PendingSecret], reporter: Reporter) -> None:
    """Makes the bucket the user's default for `multitalk s3`."""
    for bucket in (secret.values[BUCKET] for secret in secrets if BUCKET in secret.values):
        if settings.load_settings()["bucket"] == bucket:
            continue
        try:
            file = settings.user_file()
            settings.save_setting(file, settings.SETTINGS["bucket"], bucket)
        except FileError as error:
            # The secret is saved: that a setting is not is no failure.
            reporter.warn(f"{bucket} is not the bucket of multitalk s3: {error.message}")
            return
        reporter.fact("bucket", f"{bucket} is now the bucket of multitalk s3 ({file})")
        chosen = settings.load_settings()
        if chosen["bucket"] != bucket:
            origin = chosen.origin("bucket")
            reporter.warn(f"{origin} has {chosen['bucket']}, which takes precedence")


# The app


def _continue(
    options: SecretOptions, saved: tuple[SavedSecret, ...], reporter: Reporter
) -> SecretsResult:
    """Deploys again if the user agrees; finds out what the app lacks then."""
    result = SecretsResult(
        environment=options.place.environment, saved=saved, obstacle=None, is_known=False
    )
    cloud = Cloud(options.place)
    try:
        record = cloud.deployment()
    except MultitalkError:
        record = None
    if record is not None and _is_outdated(record, options, saved, reporter):
        question = "The app gets the secret with the next deploy. Deploy now?"
        if not reporter.can_ask or not reporter.confirm(question):
            outdated = SetupError(
                "the deployed app does not have the secret yet",
                code="E_NOT_DEPLOYED",
                facts=deploy_facts(options.place, record),
            )
            return replace(result, obstacle=outdated, is_known=True)
        with reporter.redirect_stdout():
            deploy_app(cloud, plan_again(options.place, record), reporter)
    try:
        return replace(result, obstacle=find_obstacle(cloud), is_known=True)
    except MultitalkError:
        # Everything is saved: an unknown state of the app is no failure.
        return result


def _is_outdated(
    record: Mapping[str, Any],
    options: SecretOptions,
    saved: Sequence[SavedSecret],
    reporter: Reporter,
) -> bool:
    """Whether the deployed app lacks one of the secrets, or refers to one that was replaced."""
    names, known = {secret.name for secret in saved}, set(record.get("secrets", ()))
    if options.force and names & known:
        reporter.warn("the deployed app refers to the replaced secret: deploy it again")
        return True
    return bool(names - known)
