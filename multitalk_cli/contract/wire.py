"""Dataclasses as plain dicts and back; the version of the contract."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from multitalk_cli import __version__
from multitalk_cli.contract.events import EVENTS, Event
from multitalk_cli.contract.limits import ContractError, require

CONTRACT_VERSION = 1


class VersionMismatchError(ContractError):
    """The other side speaks another version of the contract."""


T = TypeVar("T")


def to_wire(value: object) -> dict[str, Any]:
    """A request, event or result as a plain dict that names its contract and client versions."""
    plain: dict[str, Any] = _plain(value)
    return {"contract": CONTRACT_VERSION, "client": __version__, **plain}


def from_wire(kind: type[T], wire: Mapping[str, Any]) -> T:
    """Rebuilds a `kind` from what `to_wire` gave; nothing unknown is let through.

    Raises VersionMismatchError for another contract version, ContractError for anything malformed.
    """
    return _build(kind, check_version(wire), kind.__name__)


def event_from_wire(wire: Mapping[str, Any]) -> Event:
    """Rebuilds whichever event the dict holds; errors as `from_wire`."""
    body = check_version(wire)
    name = body.get("kind")
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ContractError(f"unknown event kind {name!r}")
    event: Event = _build(kind, body, kind.__name__)
    return event


def check_version(wire: Mapping[str, Any]) -> dict[str, Any]:
    """The dict without its versions. Raises VersionMismatchError for another contract."""
    if not isinstance(wire, Mapping):
        raise ContractError(f"expected a mapping, not {type(wire).__name__}")
    version = wire.get("contract")
    # True equals 1 in Python, and is no version.
    if type(version) is not int or version != CONTRACT_VERSION:
        raise VersionMismatchError(
            f"the other side (version {wire.get('client')!r}) speaks contract {version!r}, "
            f"this one (version {__version__}) speaks {CONTRACT_VERSION}; bring both to one "
            "version with: multitalk deploy"
        )
    return {name: item for name, item in wire.items() if name not in ("contract", "client")}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _build(kind: type[T], body: Mapping[str, Any], path: str) -> T:
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in set(body) - set(fields))
    if unknown:
        raise ContractError(f"{path} has unknown fields: {', '.join(unknown)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in body and field.default is dataclasses.MISSING
    ]
    if missing:
        raise ContractError(f"{path} lacks: {', '.join(missing)}")
    return kind(
        **{name: _convert(hints[name], item, f"{path}.{name}") for name, item in body.items()}
    )


def _convert(hint: Any, item: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_optional(hint, item, path)
    if origin is tuple:
        if not isinstance(item, list | tuple):
            raise ContractError(f"{path} must be a list, not {type(item).__name__}")
        inner = get_args(hint)[0]
        return tuple(_convert(inner, part, f"{path}[{n}]") for n, part in enumerate(item))
    if origin is typing.Literal:
        require(item in get_args(hint), path, f"one of {get_args(hint)}", item)
        return item
    if dataclasses.is_dataclass(hint):
        if not isinstance(item, Mapping):
            raise ContractError(f"{path} must be a mapping, not {type(item).__name__}")
        return _build(hint, item, path)  # type: ignore[arg-type]
    return _convert_scalar(hint, item, path)


def _convert_optional(hint: Any, item: Any, path: str) -> Any:
    if item is None:
        return None
    (inner,) = (arg for arg in get_args(hint) if arg is not types.NoneType)
    return _convert(inner, item, path)


def _convert_scalar(hint: type, item: Any, path: str) -> Any:
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        require(abs(item) < 2**53, path, "a number that a float can hold", item)
        return float(item)
    # bool is an int to Python, but a flag is no number to the reader of a request.
    if not isinstance(item, hint) or (isinstance(item, bool) and hint is not bool):
        raise ContractError(f"{path} must be {hint.__name__}, not {type(item).__name__}")
    return item
