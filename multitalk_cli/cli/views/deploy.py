"""The plan of `multitalk deploy` as lines and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.layout import Block, Line, Row

if TYPE_CHECKING:
    from multitalk_cli.cloud.deploy import DeployPlan


def data(plan: DeployPlan, *, is_deployed: bool) -> dict[str, Any]:
    """The JSON of a deploy, or of its plan alone."""
    return {
        "app": plan.place.app,
        "environment": plan.place.environment,
        "stacks": list(plan.deployment.stacks),
        "gpus": list(plan.deployment.gpus),
        "volumes": list(plan.volumes),
        "secrets": list(plan.deployment.secrets),
        "images": dict(plan.images),
        "deployed": is_deployed,
    }


def recipe_blocks(plan: DeployPlan) -> list[Block]:
    """The recipes of the images, an empty line between two."""
    blocks: list[Block] = []
    for image in plan.images.values():
        words = [line.partition(" ") for line in image]
        blocks += [Row(verb, text, width=5) for verb, _, text in words]
        blocks.append(Line(""))
    return blocks[:-1]


def facts(plan: DeployPlan) -> list[tuple[str, str]]:
    """Labels and texts of what a deploy creates, all but the secrets."""
    return [
        ("app", f"{plan.place.app}, stacks {', '.join(plan.deployment.stacks)}"),
        ("gpus", ", ".join(plan.deployment.gpus)),
        ("volumes", ", ".join(plan.volumes)),
    ]


def secrets_text(found: tuple[str, ...]) -> str:
    """The account's secrets, and those that it lacks."""
    absent = [name for name in contract.SECRETS if name not in found]
    return ", ".join([*found, *(f"no {name}" for name in absent)])
