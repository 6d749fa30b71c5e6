"""What a deploy was told, as it travels in the image's environment to every container."""

import json
import os
from dataclasses import asdict, dataclass

from multitalk_cli import contract

VARIABLE = "MULTITALK_DEPLOYMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Options of a deploy. Client and container must build the same app from them.

    gpus: what a call without --gpu may get, in Modal's names, the first being preferred.
    secrets: those of contract.SECRETS that the account had; a missing one would fail the deploy.
    """

    stacks: tuple[str, ...] = ("current",)
    gpus: tuple[str, ...] = ("H100", "H200")
    secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not set(self.stacks) <= set(contract.STACK_CLASSES) or "current" not in self.stacks:
            raise ValueError(f"stacks are {self.stacks}")
        if not self.gpus:
            raise ValueError("a deployment needs a card")
        if not set(self.secrets) <= set(contract.SECRETS):
            raise ValueError(f"secrets are {self.secrets}")

    def to_json(self) -> str:
        """The form that the environment carries."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Deployment":
        """The reverse of `to_json`."""
        return cls(**{name: tuple(value) for name, value in json.loads(text).items()})


def this_deployment() -> Deployment:
    """The options of the container that runs this, or of the deploy that is being made."""
    text = os.environ.get(VARIABLE)
    return Deployment() if text is None else Deployment.from_json(text)
