"""Secrets of the user's Modal account: their keys, and changes to them.

Modal never returns a value, so that nothing here reads one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multitalk_cli.cloud.errors import AppRef, has_environment, modal_errors, no_environment
from multitalk_cli.errors import FileError

_CONCURRENT_LOOKUPS = 8


def require_environment(place: AppRef) -> None:
    """Raises SetupError E_ENVIRONMENT for an environment that does not exist."""
    with modal_errors(place):
        if not has_environment(place):
            raise no_environment(place)


def find_keys(place: AppRef, name: str, keys: Sequence[str]) -> frozenset[str] | None:
    """The keys that the secret has, of these, checked one by one; None without such a secret."""
    if not _has(place, name, ()):
        return None
    with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
        answers = list(pool.map(lambda key: _has(place, name, (key,)), keys))
    return frozenset(key for key, is_there in zip(keys, answers, strict=True) if is_there)


def create(place: AppRef, name: str, values: Mapping[str, str]) -> None:
    """Creates a secret. Raises FileError E_SECRET_EXISTS for an existing one."""
    import modal
    import modal.exception as theirs

    with modal_errors(place):
        try:
            modal.Secret.objects.create(name, dict(values), environment_name=place.environment_name)
        except theirs.AlreadyExistsError:
            message = f"the Modal secret {name} already exists"
            raise FileError(message, code="E_SECRET_EXISTS") from None


def merge(place: AppRef, name: str, values: Mapping[str, str]) -> None:
    """Sets keys of a secret and keeps its others; the deployed app keeps the secret."""
    with modal_errors(place):
        _secret(place, name, ()).update(dict(values))


def replace(place: AppRef, name: str, values: Mapping[str, str]) -> None:
    """Replaces a secret by one with these keys alone.

    It is another secret of the same name: an app that was deployed with the old one must be
    deployed again.
    """
    import modal

    with modal_errors(place):
        modal.Secret.objects.delete(
            name, allow_missing=True, environment_name=place.environment_name
        )
    create(place, name, values)


def _has(place: AppRef, name: str, keys: Sequence[str]) -> bool:
    """Whether there is such a secret with these keys."""
    import modal.exception as theirs

    with modal_errors(place):
        try:
            _secret(place, name, keys).hydrate()
        except theirs.NotFoundError:
            return False
    return True


def _secret(place: AppRef, name: str, keys: Sequence[str]) -> Any:
    import modal

    return modal.Secret.from_name(
        name, environment_name=place.environment_name, required_keys=list(keys)
    )
