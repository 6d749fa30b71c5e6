"""Dataclasses as plain values, for the wire and for files, and back."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from multitalk_cli.contract.limits import ContractError, UnknownError, require

T = TypeVar("T")
ADDED = "added"
"""Marks fields that came after the first release: they are left out at their default, because a
reader of an older version refuses fields that it does not know."""


def to_plain(value: Any) -> Any:
    """The value with dicts in place of dataclasses and mappings, and lists in place of tuples."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: to_plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (ADDED in f.metadata and getattr(value, f.name) == f.default)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], value: object, *, use_defaults: bool = False) -> T:
    """Rebuilds a dataclass from what `to_plain` returned.

    use_defaults: whether fields that have a default may be absent. Raises ContractError, which is
    a ValueError, for everything else that is absent, unknown or of another type.
    """
    built: T = _Reader(use_defaults).convert(kind, value, kind.__name__)
    return built


class _Reader:
    """Reads plain values as annotated types; `path` names a value in errors."""

    def __init__(self, use_defaults: bool) -> None:
        self._use_defaults = use_defaults

    def convert(self, hint: Any, item: Any, path: str) -> Any:
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._convert_optional(hint, item, path)
        if origin is tuple:
            return self._convert_tuple(get_args(hint), item, path)
        if origin is typing.Literal:
            if isinstance(item, str) and item not in get_args(hint):
                known = f"one of {get_args(hint)}"
                raise UnknownError(f"{path} must be {known}, not {item!r}", f"{path} {item!r}")
            require(item in get_args(hint), path, f"one of {get_args(hint)}", item)
            return item
        if origin is not None and issubclass(origin, Mapping):
            return self._convert_mapping(get_args(hint)[1], item, path)
        if dataclasses.is_dataclass(hint):
            return self._build(hint, item, path)
        return _convert_scalar(hint, item, path)

    def _build(self, kind: Any, item: Any, path: str) -> Any:
        _require_type(Mapping, item, path)
        hints = get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        unknown = sorted(str(name) for name in set(item) - set(fields))
        if unknown:
            names = ", ".join(f"{path}.{name}" for name in unknown)
            raise UnknownError(f"{path} has unknown fields: {', '.join(unknown)}", names)
        missing = [
            name
            for name, field in fields.items()
            if name not in item and not (self._use_defaults and _has_default(field))
        ]
        if missing:
            raise ContractError(f"{path} lacks: {', '.join(missing)}")
        values = {
            name: self.convert(hints[name], value, f"{path}.{name}") for name, value in item.items()
        }
        return kind(**values)

    def _convert_optional(self, hint: Any, item: Any, path: str) -> Any:
        if item is None:
            return None
        (inner,) = (arg for arg in get_args(hint) if arg is not types.NoneType)
        return self.convert(inner, item, path)

    def _convert_tuple(self, hints: tuple[Any, ...], item: Any, path: str) -> tuple[Any, ...]:
        _require_type(list | tuple, item, path)
        if hints[-1] is Ellipsis:
            hints = (hints[0],) * len(item)
        if len(hints) != len(item):
            raise ContractError(f"{path} must have {len(hints)} values, not {len(item)}")
        return tuple(
            self.convert(hint, value, f"{path}[{number}]")
            for number, (hint, value) in enumerate(zip(hints, item, strict=True))
        )

    def _convert_mapping(self, hint: Any, item: Any, path: str) -> dict[str, Any]:
        _require_type(Mapping, item, path)
        return {str(key): self.convert(hint, value, f"{path}.{key}") for key, value in item.items()}


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _require_type(kind: Any, item: object, path: str) -> None:
    if not isinstance(item, kind):
        wanted = "a mapping" if kind is Mapping else "a list"
        raise ContractError(f"{path} must be {wanted}, not {type(item).__name__}")


def _convert_scalar(hint: type, item: Any, path: str) -> Any:
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        require(abs(item) < 2**53, path, "a number that a float can hold", item)
        return float(item)
    # bool is an int to Python, but a flag is no number to the reader of a request.
    if not isinstance(item, hint) or (isinstance(item, bool) and hint is not bool):
        raise ContractError(f"{path} must be {hint.__name__}, not {type(item).__name__}")
    if isinstance(item, float):
        require(math.isfinite(item), path, "a finite number", item)
    return item
