"""Readiness of the deployed app for making a video."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.errors import AppRef, deploy_facts
from multitalk_cli.cloud.pack import find_pack
from multitalk_cli.errors import SetupError
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


def check_ready(cloud: Cloud, stack: str) -> None:
    """Raises SetupError if a call could not make a video."""
    # All at the same time: each takes several round trips to Modal.
    with ThreadPoolExecutor(4) as pool:
        recorded = pool.submit(cloud.require_deployment)
        found = pool.submit(cloud.find_class, stack)
        listed, indexed = pool.submit(find_pack, cloud), pool.submit(cloud.find_index)
    _check_record(cloud.place, recorded.result(), stack)
    for check in (found, listed, indexed):
        check.result()


def check_deployed(cloud: Cloud, record: Mapping[str, Any], stack: str) -> None:
    """Raises SetupError unless the app of the record exists and has this contract."""
    _check_record(cloud.place, record, stack)
    cloud.find_class(stack)


def _check_record(place: AppRef, record: Mapping[str, Any], stack: str) -> None:
    if record.get("contract") != contract.CONTRACT_VERSION:
        raise SetupError(
            f"the deployed app (version {record.get('client')}) speaks contract "
            f"{record.get('contract')}, this client (version {__version__}) speaks "
            f"{contract.CONTRACT_VERSION}",
            code="E_CONTRACT",
            facts=deploy_facts(place, record),
        )
    if stack not in record.get("stacks", ()):
        raise SetupError(
            f"the app is deployed without the stack {stack}",
            code="E_NOT_DEPLOYED",
            facts=deploy_facts(place, {**record, "stacks": [*record.get("stacks", ()), stack]}),
        )


def check_first_window(cloud: Cloud) -> None:
    """Raises SetupError where the deployed app is older and can make whole videos only."""
    record = cloud.require_deployment()
    if contract.FIRST_WINDOW not in record.get("features", ()):
        raise SetupError(
            f"the deployed app (version {record.get('client')}) was deployed before --first, and "
            "makes whole videos only",
            code="E_CONTRACT",
            facts=deploy_facts(cloud.place, record),
        )


def find_obstacle(cloud: Cloud) -> SetupError | None:
    """The reason why the app cannot make a video yet; None if it can."""
    try:
        check_ready(cloud, gpus.DEFAULT_STACK)
    except SetupError as error:
        return error
    return None
