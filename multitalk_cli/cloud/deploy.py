"""The deploy: a plan of all that it creates, and its execution."""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multitalk_cli
from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.deploy_output import deploy_output
from multitalk_cli.cloud.errors import AppRef, deploy_facts, modal_errors
from multitalk_cli.cloud.modal_words import in_our_words
from multitalk_cli.errors import RefusedError, RemoteError, SetupError
from multitalk_cli.planning import gpus
from multitalk_cli.reporting.formatting import human_duration

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter
    from remote.deployment.options import Deployment

_GONE = re.compile(r"manifest unknown|not found|no such (image|manifest)", re.IGNORECASE)
"""What registries say about a tag that they do not have, in one line with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """Everything that a deploy creates. images: stack -> its recipe as lines to read."""

    place: AppRef
    deployment: Deployment
    images: Mapping[str, list[str]]
    volumes: tuple[str, ...] = (
        contract.WEIGHTS_VOLUME,
        contract.JOBS_VOLUME,
        contract.CACHES_VOLUME,
    )


def plan_deploy(place: AppRef, stacks: Sequence[str], gpu: str) -> DeployPlan:
    """The plan of a deploy with these options; works offline.

    The stack `current` is always part of it. Raises SetupError E_REMOTE_PACKAGE if the package to
    deploy is not ours, RefusedError for a GPU that a stack does not support.
    """
    check_remote_package()
    from remote.deployment.options import Deployment

    chosen = tuple(name for name in contract.STACK_CLASSES if name in {"current", *stacks})
    found = [gpus.find_gpu(name) for name in (gpus.FALLBACKS if gpu == gpus.AUTO else (gpu,))]
    for one in found:
        for stack in set(chosen) - set(one.stacks):
            message = f"{one.name} does not run with the stack {stack}"
            raise RefusedError(message, code="E_GPU_STACK", facts={"unsupported_stack": stack})
    return _plan(place, Deployment(stacks=chosen, gpus=tuple(one.modal_name for one in found)))


def plan_again(place: AppRef, record: Mapping[str, Any]) -> DeployPlan:
    """A repetition of a recorded deploy, with the secrets that the account has now.

    Raises SetupError E_REMOTE_PACKAGE as `plan_deploy`.
    """
    check_remote_package()
    from remote.deployment.options import Deployment

    recorded = Deployment(stacks=tuple(record["stacks"]), gpus=tuple(record["gpus"]))
    return add_secrets(_plan(place, recorded))


def _plan(place: AppRef, deployment: Deployment) -> DeployPlan:
    from remote.deployment import image
    from remote.deployment.options import VARIABLE

    variables = {VARIABLE: deployment.to_json()}
    images = {stack: image.describe(stack, variables) for stack in deployment.stacks}
    return DeployPlan(place=place, deployment=deployment, images=images)


def add_secrets(plan: DeployPlan) -> DeployPlan:
    """The same plan with the secrets of the account, which Modal is asked for."""
    from multitalk_cli.cloud.secrets.account import find_keys

    found = tuple(name for name in contract.SECRETS if find_keys(plan.place, name, ()) is not None)
    return _plan(plan.place, replace(plan.deployment, secrets=found))


def check_remote_package() -> None:
    """Raises SetupError unless `remote` comes from the same place as this package."""
    import remote

    found = Path(remote.__file__ or "").resolve()
    ours = Path(multitalk_cli.__file__).resolve().parents[1] / "remote" / "__init__.py"
    if found != ours or getattr(remote, "DISTRIBUTION", "") != "multitalk-cli":
        raise SetupError(
            f"the package remote is {found}, which is not part of multitalk-cli",
            code="E_REMOTE_PACKAGE",
        )


def deploy_app(
    cloud: Cloud, plan: DeployPlan, reporter: Reporter, *, shows_log: bool = False
) -> None:
    """Deploys, and records the deploy where clients look first.

    shows_log: whether the build log is reported as it comes, and not only where a build fails.
    Raises RemoteError E_DEPLOY where an image cannot be built; if it is that of another stack, the
    app is deployed with the stack `current` alone before.
    """
    deployment, place = plan.deployment, plan.place
    reporter.fact("build", "what has changed; the first time takes several minutes")
    # The app itself would create them with the version that Modal prefers.
    cloud.create_volumes(plan.volumes)
    failed = _deploy(place, deployment, reporter, shows_log=shows_log)
    if failed is not None and deployment.stacks != ("current",):
        reporter.warn("an image cannot be built; deploying the stack current alone")
        deployment = replace(deployment, stacks=("current",))
        if _deploy(place, deployment, reporter, shows_log=shows_log) is None:
            others = ", ".join(name for name in plan.deployment.stacks if name != "current")
            failed = RemoteError(
                f"{failed.message}; deployed without the stack {others}",
                code="E_DEPLOY",
                facts=deploy_facts(place),
            )
            _note(cloud, deployment)
    if failed is not None:
        raise failed
    _note(cloud, deployment)


def deploy_proof(place: AppRef, reporter: Reporter, *, shows_log: bool = False) -> AppRef:
    """Deploys the app that compares the model with references, named after the app; its place.

    Raises RemoteError E_DEPLOY where its image cannot be built.
    """
    check_remote_package()
    from remote.deployment.options import Deployment

    own = replace(place, app=f"{place.app}{contract.PROOF_SUFFIX}")
    reporter.fact("build", "the image with transformers and diffusers, if it has changed")
    failed = _deploy(own, Deployment(), reporter, shows_log=shows_log, module="remote.proof_app")
    if failed is not None:
        raise failed
    return own


def _deploy(
    place: AppRef,
    deployment: Deployment,
    reporter: Reporter,
    *,
    shows_log: bool,
    module: str = "remote.app",
) -> RemoteError | None:
    """Deploys the module's app with these options; the error where an image cannot be built."""
    import modal.exception as theirs

    from remote.deployment import image
    from remote.deployment.options import VARIABLE

    modal_config.set_variable("MODAL_IMAGE_BUILDER_VERSION", image.BUILDER)
    modal_config.set_variable(VARIABLE, deployment.to_json())
    # The app is defined by importing it, here as in its containers; a second deploy defines anew.
    sys.modules.pop(module, None)

    began_s = time.monotonic()
    with modal_errors(place), deploy_output(reporter, shows_log=shows_log) as output:
        app = importlib.import_module(module).app
        try:
            app.deploy(name=place.app, environment_name=place.environment_name, tag=_tag())
        except theirs.ImageBuildError as error:
            output.show_log()
            said = in_our_words(str(error)).strip()
            gone = _missing_bases(deployment, [*output.log, *said.split("\n")])
            message = f"an image cannot be built: {said.rstrip('.')}{gone}"
            failed = RemoteError(message, code="E_DEPLOY", facts=deploy_facts(place))
            failed.__cause__ = error
            return failed
        except KeyboardInterrupt:
            reporter.leaving = "interrupted; the same command deploys it"
            raise
    built = "" if output.is_built else ", every image was up to date"
    seconds = human_duration(time.monotonic() - began_s)
    reporter.fact("deployed", f"{place.app} in {seconds}{built}")
    return None


def _missing_bases(deployment: Deployment, lines: Sequence[str]) -> str:
    """What to add to the error of a build whose base image the registry no longer has.

    lines: of the error and of the build log. Registries name the tag with or without a colon.
    """
    from remote.deployment import image

    bases = {stack: image.STACKS[stack].base for stack in deployment.stacks}
    refusals = [line for line in lines if _GONE.search(line)]
    return "".join(
        f"; the registry no longer has {base}, the base of the stack {stack}"
        for stack, base in bases.items()
        if any(all(part in line for part in base.split(":")) for line in refusals)
    )


def _note(cloud: Cloud, deployment: Deployment) -> None:
    from remote.deployment import image

    cloud.note_deployment(
        {
            "client": __version__,
            "contract": contract.CONTRACT_VERSION,
            "stacks": list(deployment.stacks),
            "gpus": list(deployment.gpus),
            "secrets": list(deployment.secrets),
            "features": list(contract.FEATURES),
            "builder": image.BUILDER,
        }
    )


def _tag() -> str:
    return f"multitalk-{__version__}"
