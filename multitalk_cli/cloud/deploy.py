"""Putting the app into an account: what a deploy creates, and the deploy itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multitalk_cli
from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef, modal_errors
from multitalk_cli.errors import RefusedError, RemoteError, SetupError
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from remote.deployment.options import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """What a deploy creates. images: stack -> its recipe as lines to read."""

    place: AppRef
    deployment: Deployment
    images: dict[str, list[str]]

    def data(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "app": self.place.app,
            "environment": self.place.environment,
            "stacks": list(self.deployment.stacks),
            "gpus": list(self.deployment.gpus),
            "volumes": list(_volumes()),
            "secrets": list(self.deployment.secrets),
            "images": self.images,
        }


def _volumes() -> tuple[str, ...]:
    return contract.WEIGHTS_VOLUME, contract.JOBS_VOLUME, contract.CACHES_VOLUME


def plan_deploy(place: AppRef, stacks: Sequence[str], gpu: str) -> DeployPlan:
    """What a deploy with these options would create; needs no network.

    The stack `current` is always part of it. Raises SetupError E_REMOTE_PACKAGE where the package
    that would be deployed is not ours, RefusedError for a card that a stack does not know.
    """
    check_remote_package()
    from remote.deployment.options import Deployment

    chosen = tuple(name for name in contract.STACK_CLASSES if name in {"current", *stacks})
    cards = [gpus.find_gpu(name) for name in (gpus.FALLBACKS if gpu == gpus.AUTO else (gpu,))]
    for card in cards:
        for stack in set(chosen) - set(card.stacks):
            message = f"{card.name} does not run with the stack {stack}"
            raise RefusedError(message, code="E_GPU_STACK", hint=f"leave --stack {stack} out")
    return _planned(place, Deployment(stacks=chosen, gpus=tuple(card.modal_name for card in cards)))


def plan_again(place: AppRef, record: Mapping[str, Any]) -> DeployPlan:
    """The deploy that was noted, once more, with the secrets that the account has now.

    Raises SetupError E_REMOTE_PACKAGE as `plan_deploy` does.
    """
    check_remote_package()
    from remote.deployment.options import Deployment

    noted = Deployment(stacks=tuple(record["stacks"]), gpus=tuple(record["gpus"]))
    return add_secrets(_planned(place, noted))


def _planned(place: AppRef, deployment: Deployment) -> DeployPlan:
    from remote.deployment import image
    from remote.deployment.options import VARIABLE

    variables = {VARIABLE: deployment.to_json()}
    images = {stack: image.describe(stack, variables) for stack in deployment.stacks}
    return DeployPlan(place=place, deployment=deployment, images=images)


def add_secrets(planned: DeployPlan) -> DeployPlan:
    """The same deploy with the secrets that the account has; asks Modal which these are."""
    from multitalk_cli.cloud.secrets.account import find_keys

    found = tuple(
        name for name in contract.SECRETS if find_keys(planned.place, name, ()) is not None
    )
    return _planned(planned.place, replace(planned.deployment, secrets=found))


def check_remote_package() -> None:
    """Raises SetupError unless `remote` comes from the same place as this package."""
    import remote

    found = Path(remote.__file__ or "").resolve()
    ours = Path(multitalk_cli.__file__).resolve().parents[1] / "remote" / "__init__.py"
    if found != ours or getattr(remote, "DISTRIBUTION", "") != "multitalk-cli":
        raise SetupError(
            f"the package remote is {found}, which is not of multitalk-cli",
            code="E_REMOTE_PACKAGE",
        )


def deploy_app(cloud: Cloud, planned: DeployPlan, *, show_build: bool) -> None:
    """Deploys, and notes what was deployed where clients look first.

    show_build: whether Modal's own output is printed, on stdout.
    """
    import modal
    import modal.exception as theirs

    from remote.deployment.options import VARIABLE

    # The app is defined by importing it, here as in its containers.
    modal_config.set_variable(VARIABLE, planned.deployment.to_json())

    place = planned.place
    stream = modal.enable_output() if show_build else nullcontext()
    with modal_errors(place), stream:
        from remote.app import app

        try:
            app.deploy(name=place.app, environment_name=place.environment_name, tag=_tag())
        except theirs.ImageBuildError as error:
            raise RemoteError(f"an image cannot be built: {error}", code="E_DEPLOY") from error
    cloud.note_deployment(
        {
            "client": __version__,
            "contract": contract.CONTRACT_VERSION,
            "stacks": list(planned.deployment.stacks),
            "gpus": list(planned.deployment.gpus),
            "secrets": list(planned.deployment.secrets),
        }
    )


def _tag() -> str:
    return f"multitalk-{__version__}"
