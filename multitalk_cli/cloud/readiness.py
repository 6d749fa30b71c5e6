"""Readiness of the deployed app for making a video."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.errors import AppRef, deploy_facts
from multitalk_cli.cloud.loras import check_loras
from multitalk_cli.cloud.pack import find_pack
from multitalk_cli.errors import SetupError
from multitalk_cli.planning import gpus
from multitalk_cli.planning.presets import DEFAULT_PRESET, PRESETS

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.planning.presets import Denoising

_STANDARD = PRESETS[DEFAULT_PRESET]
_FEATURES = {contract.LORAS: "LoRAs", contract.TEXT_STEPS: "guidance kept after some steps"}


def check_ready(cloud: Cloud, stack: str, denoising: Denoising = _STANDARD) -> None:
    """Raises SetupError if a call could not make a video."""
    # All at the same time: each takes several round trips to Modal.
    with ThreadPoolExecutor(5) as pool:
        recorded = pool.submit(cloud.require_deployment)
        found = pool.submit(cloud.find_class, stack)
        listed, indexed = pool.submit(find_pack, cloud), pool.submit(cloud.find_index)
        merged = pool.submit(check_loras, cloud, denoising.loras)
    _check_record(cloud.place, recorded.result(), stack, denoising)
    for check in (found, listed, indexed, merged):
        check.result()


def check_deployed(
    cloud: Cloud, record: Mapping[str, Any], stack: str, denoising: Denoising
) -> None:
    """Raises SetupError unless the app of the record exists and has this contract."""
    _check_record(cloud.place, record, stack, denoising)
    cloud.find_class(stack)


def _check_record(
    place: AppRef, record: Mapping[str, Any], stack: str, denoising: Denoising
) -> None:
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
    lacking = [name for name in denoising.needs if name not in record.get("features", ())]
    if lacking:
        names = " and ".join(_FEATURES.get(name, f"the tier {name}") for name in lacking)
        raise SetupError(
            f"{names}: not available in this deployment (version {record.get('client')})",
            code="E_NOT_DEPLOYED",
            facts=deploy_facts(place, record),
        )


def check_first_window(cloud: Cloud) -> None:
    """Raises SetupError where the deployed app is older and can make whole videos only."""
    _require_feature(cloud, contract.FIRST_WINDOW, "--first, and makes whole videos only")


def check_quality(cloud: Cloud) -> None:
    """Raises SetupError where the deployed app is older and cannot compare tiers."""
    _require_feature(cloud, contract.BENCH_QUALITY, "--quality, and measures speed only")


def _require_feature(cloud: Cloud, feature: str, before: str) -> None:
    record = cloud.require_deployment()
    if feature not in record.get("features", ()):
        raise SetupError(
            f"the deployed app (version {record.get('client')}) was deployed before {before}",
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
