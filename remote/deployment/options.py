"""Options of a deployment, which reach every container in the environment of its image."""

import json
import os
from dataclasses import asdict, dataclass

from multitalk_cli import contract

VARIABLE = "MULTITALK_DEPLOYMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Options of a deploy. Client and container must build the same app from them.

    gpus: those of a call without --gpu, in Modal's names, the preferred one first.
    secrets: those of contract.SECRETS that the account had; a missing one would fail the deploy.
    """

    stacks: tuple[str, ...] = ("current",)
    gpus: tuple[str, ...] = ("H100", "H200")
    secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not set(self.stacks) <= set(contract.STACK_CLASSES) or "current" not in self.stacks:
            raise ValueError(f"stacks are {self.stacks}")
        if not self.gpus:
            raise ValueError("a deployment needs a GPU")
        if not set(self.secrets) <= set(contract.SECRETS):
            raise ValueError(f"secrets are {self.secrets}")

    def to_json(self) -> str:
        """The form in the environment."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Deployment":
        """The reverse of `to_json`."""
        return cls(**{name: tuple(value) for name, value in json.loads(text).items()})


def this_deployment() -> Deployment:
    """The options of this container, or of the deployment that is being made."""
    text = os.environ.get(VARIABLE)
    return Deployment() if text is None else Deployment.from_json(text)
