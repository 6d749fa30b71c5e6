"""Looks at the user's Modal account: token, app, weights, secrets, and the bucket from inside."""

from __future__ import annotations

import http.client
import ssl
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.pack import find_pack
from multitalk_cli.doctor.check import Check, Outcome
from multitalk_cli.doctor.local import uses_this_machine
from multitalk_cli.errors import RefusedError, SetupError, TemporaryError, error_from_code
from multitalk_cli.planning import gpus
from multitalk_cli.planning.windows import make_plan
from multitalk_cli.reporting.formatting import human_bytes, human_duration
from multitalk_cli.settings import PROJECT_FILE, SETTINGS

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.settings import Settings

NEEDED_KEYS = {
    contract.AWS_SECRET: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_BUCKET_NAME"),
    contract.HUGGINGFACE_SECRET: ("HF_TOKEN",),
}
_ONLY = {contract.AWS_SECRET: "aws", contract.HUGGINGFACE_SECRET: "hf"}
_WHAT_FOR = {
    contract.AWS_SECRET: "only needed for s3://",
    contract.HUGGINGFACE_SECRET: "only needed for gated weights",
}
_SKEW_WARN_S, _SKEW_FAIL_S = 30, 600
_CLOCK_S, _CLOCK_LIMIT_S = 2.0, 3.0
_BUCKET_S = 8.0
_TYPICAL_FRAMES, _TYPICAL_PX = contract.DEFAULT_WINDOW_FRAMES, (896, 448)


class Account:
    """One place in the account, as the settings name it; nothing is asked before a look."""

    def __init__(self, chosen: Settings | None) -> None:
        """chosen: None where the settings cannot be read: then no look here is taken."""
        self._chosen = chosen

    def looks(self) -> list[Check]:
        """Everything that takes a network or an account."""
        return [
            Check(name="network", group="account", take=self.network),
            Check(name="clock", group="local", take=clock, limit_s=_CLOCK_LIMIT_S, late="skip"),
            Check(name="token", group="account", take=self.token, needs=("settings",)),
            self._look("workspace", "account", self.workspace, "token", "network"),
            self._look("app", "deployment", self.app, "workspace"),
            self._look("version", "deployment", self.version, "app"),
            Check(name="choice", group="deployment", take=self.card, needs=("settings", "token")),
            self._look("pack", "weights", self.pack, "workspace"),
            self._look("huggingface", "storage", self.huggingface, "workspace"),
            self._look("aws", "storage", self.aws, "workspace"),
            Check(
                name="bucket",
                group="storage",
                take=self.bucket,
                needs=("aws", "app"),
                limit_s=_BUCKET_S,
                late="warn",
            ),
        ]

    def _look(self, name: str, group: str, take: Any, *needs: str) -> Check:
        return Check(name=name, group=group, take=take, needs=needs)

    @property
    def chosen(self) -> Settings:
        """The settings; every look that asks for them needs the look at them."""
        if self._chosen is None:
            raise ValueError("the settings were not read")
        return self._chosen

    @cached_property
    def cloud(self) -> Cloud:
        """The place; opened once, by whichever look is first."""
        from multitalk_cli.cloud.client import Cloud
        from multitalk_cli.cloud.errors import AppRef

        return Cloud(AppRef(app=self.chosen["app"], environment=self.chosen["environment"]))

    def network(self) -> Outcome:
        """Whether Modal can be reached. Raises TemporaryError E_NETWORK within three seconds."""
        began_s = time.monotonic()
        try:
            modal_config.require_network()
        except TemporaryError as error:
            if self._chosen is not None and uses_this_machine(self._chosen):
                return Outcome(text=f"{error.message}; this machine makes the videos", state="skip")
            hint = "multitalk doctor"
            raise TemporaryError(error.message, code=error.code, hint=hint) from None
        return Outcome(text=f"{(time.monotonic() - began_s) * 1000:.0f} ms away")

    def token(self) -> Outcome:
        """Whether there is a whole token. Raises SetupError E_NO_TOKEN, E_TOKEN."""
        if uses_this_machine(self.chosen) and not modal_config.has_token():
            return Outcome(text="no Modal token; this machine makes the videos", state="skip")
        modal_config.require_token()
        return Outcome(text="token")

    def workspace(self) -> Outcome:
        """Whether the token is accepted and the environment exists. Raises SetupError."""
        from multitalk_cli.cloud.secrets.account import require_environment

        require_environment(self.cloud.place)
        workspace, environment = self.cloud.account()
        return Outcome(text=f'workspace "{workspace}", environment "{environment}"')

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What the last deploy noted. Raises SetupError E_NOT_DEPLOYED where there was none."""
        from multitalk_cli.cloud.errors import not_deployed

        record = self.cloud.deployment()
        if record is None:
            raise not_deployed(self.cloud.place)
        return record

    @property
    def _deploy(self) -> str:
        """The command that deploys once more what is deployed here."""
        from multitalk_cli.cloud.errors import deploy_command

        return deploy_command(self.cloud.place, self.record)

    def app(self) -> Outcome:
        """Whether the app is there with the stack that is set. Raises SetupError."""
        from multitalk_cli.cloud.readiness import check_deployed
        from multitalk_cli.cloud.secrets.account import kept_keys

        check_deployed(self.cloud, self.record, self.chosen["stack"])
        for name in self.record.get("secrets", ()):
            if kept_keys(self.cloud.place, name, ()) is None:
                message = f"no container can start: the app was deployed with {name}, which is gone"
                raise SetupError(message, code="E_NOT_DEPLOYED", hint=self._deploy)
        cards = ", else ".join(self.record.get("gpus", ()))
        return Outcome(text=f"{self.cloud.place.app} on {cards}")

    def version(self) -> Outcome:
        """Whether the app is of this client's version; the contract was compared before."""
        deployed = self.record.get("client")
        if deployed == __version__:
            return Outcome(text=f"version {deployed}")
        text = f"app {deployed}, this client {__version__}, same contract"
        return Outcome(text=text, state="warn", remedy=self._deploy)

    def card(self) -> Outcome:
        """Whether the card that is set runs with the stack and holds the model."""
        card, stack = gpus.find_gpu(self.chosen["gpu"]), self.chosen["stack"]
        plan = make_plan(
            _TYPICAL_FRAMES,
            contract.DEFAULT_FPS,
            size=_TYPICAL_PX,
            sample_steps=self.chosen["sample_steps"],
            text_guidance=self.chosen["text_guidance"],
            persons=1,
        )
        try:
            gpus.check_gpu(card, stack, plan)
        except RefusedError as error:
            name = "stack" if error.code == "E_GPU_STACK" else "gpu"
            remedy = self._unset(name)
            return Outcome(text=error.message, state="fail", remedy=remedy, code=error.code)
        return Outcome(text=f"videos on {card.name}, stack {stack}")

    def _unset(self, name: str) -> str:
        """The command that brings a setting back to what it is by itself."""
        origin = self.chosen.origin(name)
        if origin == SETTINGS[name].variable:
            return f"unset {origin}"
        project = " --project" if origin == PROJECT_FILE else ""
        return f"multitalk config set {name} {SETTINGS[name].default}{project}"

    def pack(self) -> Outcome:
        """Whether the weights are there, packed, and as long as the manifest says."""
        pack = find_pack(self.cloud)
        return Outcome(text=f"packed, {len(pack.sizes)} files, {human_bytes(pack.size_bytes)}")

    def huggingface(self) -> Outcome:
        """The secret for the hub, which public weights do not need."""
        return self._secret(contract.HUGGINGFACE_SECRET)

    def aws(self) -> Outcome:
        """The secret for S3, which nothing but s3:// needs."""
        return self._secret(contract.AWS_SECRET)

    def _secret(self, name: str) -> Outcome:
        from multitalk_cli.cloud.secrets.account import kept_keys

        command = f"multitalk setup-secrets --only {_ONLY[name]}"
        keys = NEEDED_KEYS[name]
        kept = kept_keys(self.cloud.place, name, keys)
        if kept is None:
            text = f"{name} not set up ({_WHAT_FOR[name]})"
            return Outcome(text=text, state="skip", remedy=command)
        absent = [key for key in keys if key not in kept]
        if absent:
            text = f"{name} lacks {', '.join(absent)}"
            remedy = f"{command} --update"
            return Outcome(text=text, state="fail", remedy=remedy, code="E_SECRET_INCOMPLETE")
        return Outcome(text=name)

    def bucket(self) -> Outcome:
        """Stores, reads and deletes a tiny object from inside the cloud."""
        if contract.AWS_SECRET not in self.record.get("secrets", ()):
            text = f"the app was deployed before {contract.AWS_SECRET} was set up"
            return Outcome(text=text, state="fail", remedy=self._deploy, code="E_NOT_DEPLOYED")
        wire = {"contract": contract.CONTRACT_VERSION, "client": __version__}
        answer = self.cloud.call(contract.STORAGE_FUNCTION, wire)
        if "event" in answer:
            failed = contract.event_from_wire(answer["event"])
            if isinstance(failed, contract.Failed):
                raise error_from_code(failed.code, failed.message, failed.hint)
        bucket, seconds = str(answer["bucket"]), float(answer["seconds"])
        return Outcome(text=f"s3://{bucket} written, read and deleted in {human_duration(seconds)}")


def clock() -> Outcome:
    """This machine's clock beside the time that Modal's server says."""
    theirs = _server_time(urlsplit(modal_config.server_url()))
    if theirs is None:
        return Outcome(text="clock not compared: the server tells no time", state="skip")
    skew_s = (datetime.now(UTC) - theirs).total_seconds()
    if abs(skew_s) < _SKEW_WARN_S:
        return Outcome(text="clock right")
    way = "ahead" if skew_s > 0 else "behind"
    text = f"the clock is {human_duration(abs(skew_s))} {way}"
    is_macos = sys.platform == "darwin"
    remedy = "sudo sntp -sS time.apple.com" if is_macos else "sudo timedatectl set-ntp true"
    if abs(skew_s) < _SKEW_FAIL_S:
        return Outcome(text=text, state="warn", remedy=remedy)
    return Outcome(text=text, state="fail", remedy=remedy, code="E_S3_CLOCK")


def _server_time(url: Any) -> datetime | None:
    """What the server's answer is dated; None where it gives none that can be read."""
    kind = http.client.HTTPConnection if url.scheme == "http" else http.client.HTTPSConnection
    connection = kind(url.hostname or "", url.port, timeout=_CLOCK_S)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
        return None if date is None else parsedate_to_datetime(date).astimezone(UTC)
    except (OSError, http.client.HTTPException, ssl.SSLError, ValueError, TypeError):
        return None
    finally:
        connection.close()
