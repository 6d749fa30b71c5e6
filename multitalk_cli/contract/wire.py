"""Requests, events and results as dicts that name the version of the contract, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from multitalk_cli import __version__
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.contract.events import EVENTS, Event
from multitalk_cli.contract.limits import ContractError, UnknownError

CONTRACT_VERSION = 1


class VersionMismatchError(ContractError):
    """The other side speaks another version of the contract."""


class NewerPeerError(VersionMismatchError):
    """The other side sends what only a newer version knows.

    peer: its version. what: fields or words that are unknown here.
    """

    def __init__(self, peer: object, what: str) -> None:
        self.peer, self.what = str(peer), what
        super().__init__(
            f"the other side (version {peer}) is newer than this one (version {__version__}), "
            f"which does not know {what}"
        )


T = TypeVar("T")


def to_wire(value: object) -> dict[str, Any]:
    """A request, event or result as a plain dict that names its contract and client versions."""
    return {"contract": CONTRACT_VERSION, "client": __version__, **to_plain(value)}


def from_wire(kind: type[T], wire: Mapping[str, Any]) -> T:
    """Rebuilds a `kind` from what `to_wire` returned; unknown fields are refused.

    Raises VersionMismatchError for another contract version, NewerPeerError for what this one does
    not know, ContractError for anything malformed.
    """
    try:
        return from_plain(kind, check_version(wire), use_defaults=True)
    except UnknownError as error:
        raise NewerPeerError(wire.get("client"), error.what) from error


def event_from_wire(wire: Mapping[str, Any]) -> Event:
    """Rebuilds whichever event the dict holds; errors as `from_wire`."""
    body = check_version(wire)
    name = body.get("kind")
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None and isinstance(name, str):
        raise NewerPeerError(wire.get("client"), f"the event {name!r}")
    if kind is None:
        raise ContractError(f"unknown event kind {name!r}")
    event: Event = from_wire(kind, wire)
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
