"""Modal's errors as ours, and the app that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.modal_words import SPENDING_PAGE, in_our_words
from multitalk_cli.errors import MultitalkError, RemoteError, SetupError, TemporaryError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact

_SETTING = re.compile(r"[Ii]nvalid value for (\w+) config")
_PAYMENT = re.compile(r"payment method", re.IGNORECASE)
_BUDGET = re.compile(r"spend(ing)?\s+(limit|cap)|budget|billing cycle", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRef:
    """The app's place in the account; an empty environment is the account's default."""

    app: str
    environment: str

    @property
    def facts(self) -> Mapping[str, Fact]:
        """The same in an error."""
        return {"app": self.app, "environment": self.environment}

    @property
    def environment_name(self) -> str | None:
        """The same for Modal's functions."""
        return self.environment if self.environment else None


@contextmanager
def modal_errors(place: AppRef) -> Iterator[None]:
    """Turns what Modal's client raises into our errors."""
    import modal.exception as theirs

    try:
        yield
    except FileNotFoundError:
        raise
    except lost_connection() as error:
        message = f"the connection to Modal was lost: {first_line(error)}"
        raise TemporaryError(message, code="E_NETWORK") from error
    except theirs.Error as error:
        raise (_explain_billing(error) or _explain_refusal(place, error)) from error


def lost_connection() -> tuple[type[Exception], ...]:
    """What Modal's client raises where the network fails; also what its libraries do."""
    import aiohttp
    import modal.exception as theirs
    from grpclib.exceptions import StreamTerminatedError
    from h2.exceptions import ProtocolError

    rpc = (theirs.ConnectionError, theirs.ServiceError, theirs.InternalError, theirs.TimeoutError)
    return (*rpc, aiohttp.ClientError, StreamTerminatedError, ProtocolError, OSError)


def _explain_refusal(place: AppRef, error: Exception) -> MultitalkError:
    import modal.exception as theirs

    match error:
        case theirs.AuthError():
            return _explain_token(error)
        case theirs.PermissionDeniedError():
            # The token is valid: another one of the same user is denied the same.
            return SetupError(f"Modal denies this: {first_line(error)}", code="E_PERMISSION")
        case theirs.NotFoundError():
            return _explain_missing(place, error)
        case theirs.ResourceExhaustedError():
            # A queue or a quota empties by itself.
            return TemporaryError(first_line(error), code="E_CAPACITY")
        case theirs.VersionError():
            return SetupError(first_line(error), code="E_MODAL_VERSION")
        case theirs.InvalidError():
            return _explain_invalid(error)
    return RemoteError(f"Modal refused: {first_line(error)}", code="E_REMOTE")


def _explain_billing(error: Exception) -> MultitalkError | None:
    """The error for what only a change of the account's billing mends, whatever its kind is."""
    message = first_line(error)
    for pattern, code in ((_PAYMENT, "E_PAYMENT_METHOD"), (_BUDGET, "E_SPENDING_LIMIT")):
        if pattern.search(message):
            return SetupError(f"{message} (see {SPENDING_PAGE})", code=code)
    return None


def _explain_token(error: Exception) -> SetupError:
    """The error for a token that is missing or refused; one in variables goes before a stored."""
    message = first_line(error)
    if "Token missing" in message:
        return SetupError(message, code="E_NO_TOKEN")
    variables = modal_config.hiding_variables()
    if not variables:
        return SetupError(message, code="E_TOKEN")
    return SetupError(
        f"{message} (the token in {' and '.join(variables)})",
        code="E_TOKEN",
        facts={"unset": variables, "needs_login": not modal_config.has_stored_token()},
    )


def _explain_invalid(error: Exception) -> MultitalkError:
    """A setting of Modal's client, or something that its server does not accept."""
    message = first_line(error)
    setting = _SETTING.search(message)
    if setting is None:
        return RemoteError(f"Modal refused: {message}", code="E_REMOTE")
    return modal_config.refused_setting(setting[1], f"Modal's client refused: {message}")


def first_line(error: BaseException) -> str:
    """The first line of Modal's text, with our commands."""
    text = in_our_words(str(error)).strip()
    return text.partition("\n")[0] if text else type(error).__name__


def _explain_missing(place: AppRef, error: Exception) -> MultitalkError:
    """The error for something that is not there: the environment, or else the app in it."""
    if not has_environment(place):
        return no_environment(place)
    if not place.app:
        return RemoteError(f"Modal refused: {first_line(error)}", code="E_REMOTE")
    message = f"{_describe_absent(place)} ({first_line(error)})"
    return SetupError(message, code="E_NOT_DEPLOYED", facts=deploy_facts(place))


def has_environment(place: AppRef) -> bool:
    """Whether the account has the environment; True where none is named."""
    import modal
    import modal.exception as theirs

    name = place.environment or modal_config.environment()
    if not name:
        return True
    try:
        modal.Environment.from_name(name).hydrate()
    except theirs.NotFoundError:
        return False
    return True


def no_environment(place: AppRef) -> SetupError:
    """The error for an environment that the account does not have, with those that it has."""
    import modal

    name = place.environment or modal_config.environment()
    known = tuple(sorted(str(each.name) for each in modal.Environment.objects.list()))
    has = ", ".join(f'"{each}"' for each in known)
    facts: dict[str, Fact] = {"environment": name, "known": known}
    if not place.environment:
        facts["is_modals"] = True
    message = f'no environment "{name}" in the Modal account, which has {has}'
    return SetupError(message, code="E_ENVIRONMENT", facts=facts)


def never_deployed(place: AppRef) -> SetupError:
    """The error for an app that no deploy is recorded of; a download deploys it first."""
    facts: dict[str, Fact] = {"volume": contract.WEIGHTS_VOLUME, **deploy_facts(place)}
    return SetupError(_describe_absent(place), code="E_NOT_DEPLOYED", facts=facts)


def _describe_absent(place: AppRef) -> str:
    environment = f'environment "{place.environment}"' if place.environment else "this environment"
    return f'no Modal app "{place.app}" in {environment}'


def deploy_facts(place: AppRef, record: Mapping[str, Any] | None = None) -> dict[str, Fact]:
    """The facts of a deploy of this app. record: of the last one, whose stacks and GPU stay."""
    facts: dict[str, Fact] = {"app": place.app, "environment": place.environment}
    if record is not None:
        facts["stacks"] = tuple(record.get("stacks", ()))
        names = gpus.names_of(record.get("gpus", ()))
        facts |= {"gpu": names[0]} if len(names) == 1 else {}
    return facts
