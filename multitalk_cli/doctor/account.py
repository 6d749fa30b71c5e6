"""Checks of the user's Modal account: token, app, weights, secrets, and the bucket from there."""

from __future__ import annotations

import http.client
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config, network
from multitalk_cli.cloud.call_result import as_answer
from multitalk_cli.cloud.pack import eight_bit_states, find_pack
from multitalk_cli.contract.secrets import AWS_SPEC, HUB_SPEC, SecretSpec
from multitalk_cli.doctor import eight_bit
from multitalk_cli.doctor.check import Check, Outcome
from multitalk_cli.doctor.local import uses_this_machine
from multitalk_cli.errors import RefusedError, SetupError, TemporaryError
from multitalk_cli.planning import gpus
from multitalk_cli.planning.presets import denoising_of
from multitalk_cli.planning.windows import make_plan
from multitalk_cli.reporting.formatting import human_bytes, human_duration
from multitalk_cli.settings import PROJECT_FILE, SETTINGS

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.settings import Settings

_NEEDED_FOR = {AWS_SPEC.name: "s3://", HUB_SPEC.name: "gated weights"}
_SKEW_WARN_S, _SKEW_FAIL_S = 30, 600
_CLOCK_S, _CLOCK_LIMIT_S = 2.0, 3.0
_BUCKET_S = 8.0
_TYPICAL_FRAMES, _TYPICAL_PX = contract.DEFAULT_WINDOW_FRAMES, (896, 448)


class Account:
    """The app and environment of the settings; Modal is asked by the checks alone."""

    def __init__(self, chosen: Settings | None) -> None:
        """chosen: None for settings that cannot be read; most checks are then blocked."""
        self._chosen = chosen

    def checks(self) -> list[Check]:
        """All checks that need a network or an account."""

        def check(name: str, group: str, run: Callable[[], Outcome], *needs: str) -> Check:
            return Check(name=name, group=group, run=run, needs=needs)

        clock = Check(
            name="clock",
            group="local",
            run=check_clock,
            limit_s=_CLOCK_LIMIT_S,
            state_if_late="skip",
        )
        bucket = Check(
            name="bucket",
            group="storage",
            run=self.check_bucket,
            needs=("aws", "app"),
            limit_s=_BUCKET_S,
            state_if_late="warn",
        )
        return [
            check("network", "account", self.check_network),
            clock,
            check("token", "account", self.check_token, "settings"),
            check("workspace", "account", self.check_workspace, "token", "network"),
            check("app", "deployment", self.check_app, "workspace"),
            check("version", "deployment", self.check_version, "app"),
            check("choice", "deployment", self.check_gpu, "settings", "token"),
            check("pack", "weights", self.check_pack, "workspace"),
            check("huggingface", "storage", self.check_huggingface, "workspace"),
            check("aws", "storage", self.check_aws, "workspace"),
            bucket,
        ]

    @property
    def chosen(self) -> Settings:
        """The settings; checks that use them need the check "settings"."""
        if self._chosen is None:
            raise ValueError("the settings were not read")
        return self._chosen

    @cached_property
    def cloud(self) -> Cloud:
        """The account's app; opened once, by the first check that needs it."""
        from multitalk_cli.cloud.client import Cloud
        from multitalk_cli.cloud.errors import AppRef

        return Cloud(AppRef(app=self.chosen["app"], environment=self.chosen["environment"]))

    def check_network(self) -> Outcome:
        """Whether Modal answers within three seconds."""
        began_s = time.monotonic()
        try:
            network.require_network()
        except TemporaryError as error:
            if self._chosen is not None and uses_this_machine(self._chosen):
                text = f"{error.message}; videos are made on this machine"
                return Outcome(text=text, state="skip")
            return Outcome.from_error(error)
        return Outcome(text=f"Modal {(time.monotonic() - began_s) * 1000:.0f} ms away")

    def check_token(self) -> Outcome:
        """Whether there is a complete token. Raises SetupError E_NO_TOKEN, E_TOKEN."""
        if uses_this_machine(self.chosen) and not modal_config.has_token():
            return Outcome(text="no Modal token; videos are made on this machine", state="skip")
        modal_config.require_token()
        return Outcome(text="token")

    def check_workspace(self) -> Outcome:
        """Whether the token is accepted and the environment exists. Raises SetupError."""
        from multitalk_cli.cloud.secrets.account import require_environment

        require_environment(self.cloud.place)
        workspace, environment = self.cloud.account()
        return Outcome(text=f'workspace "{workspace}", environment "{environment}"')

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The record of the last deploy. Raises SetupError E_NOT_DEPLOYED without one."""
        from multitalk_cli.cloud.errors import never_deployed

        record = self.cloud.deployment()
        if record is None:
            raise never_deployed(self.cloud.place)
        return record

    def _deploy_again(self, text: str) -> SetupError:
        """The error that a repetition of the last deploy corrects."""
        from multitalk_cli.cloud.errors import deploy_facts

        facts = deploy_facts(self.cloud.place, self.record)
        return SetupError(text, code="E_NOT_DEPLOYED", facts=facts)

    def check_app(self) -> Outcome:
        """Whether the app is deployed with the stack in the settings. Raises SetupError."""
        from multitalk_cli.cloud.readiness import check_deployed
        from multitalk_cli.cloud.secrets.account import find_keys

        check_deployed(self.cloud, self.record, self.chosen["stack"], denoising_of(self.chosen))
        for name in self.record.get("secrets", ()):
            if find_keys(self.cloud.place, name, ()) is None:
                text = f"no container can start: the secret {name} of the deployed app was deleted"
                raise self._deploy_again(text)
        choices = ", else ".join(self.record.get("gpus", ()))
        return Outcome(text=f"{self.cloud.place.app} on {choices}")

    def check_version(self) -> Outcome:
        """Whether app and client have the same version; `check_app` compares the contract."""
        deployed = self.record.get("client")
        if deployed == __version__:
            return Outcome(text=f"version {deployed}")
        text = f"app {deployed}, this client {__version__}, same contract"
        return Outcome(text=text, state="warn", error=self._deploy_again(text))

    def check_gpu(self) -> Outcome:
        """Whether the GPU in the settings runs the stack and holds the model."""
        gpu, stack = gpus.find_gpu(self.chosen["gpu"]), self.chosen["stack"]
        plan = make_plan(
            _TYPICAL_FRAMES,
            contract.DEFAULT_FPS,
            size=_TYPICAL_PX,
            persons=1,
            denoising=denoising_of(self.chosen),
        )
        try:
            gpus.check_gpu(gpu, stack, plan)
        except RefusedError as error:
            name = "stack" if error.code == "E_GPU_STACK" else "gpu"
            remedy = self._unset(name)
            return Outcome(text=error.message, state="fail", remedy=remedy, code=error.code)
        return Outcome(text=f"videos on {gpu.name}, stack {stack}")

    def _unset(self, name: str) -> str:
        """The command that restores a setting's default."""
        origin = self.chosen.origin(name)
        if origin == SETTINGS[name].variable:
            return f"unset {origin}"
        project = " --project" if origin == PROJECT_FILE else ""
        return f"multitalk config unset {name}{project}"

    def check_pack(self) -> Outcome:
        """Whether the account has all packed weights. Raises SetupError E_WEIGHTS_MISSING."""
        pack = find_pack(self.cloud)
        text = f"packed, {len(pack.sizes)} files, {human_bytes(pack.size_bytes)}"
        return eight_bit.outcome(text, eight_bit_states(self.cloud, pack))

    def check_huggingface(self) -> Outcome:
        """The Hugging Face secret, which public weights do not need."""
        return self._check_secret(HUB_SPEC)

    def check_aws(self) -> Outcome:
        """The S3 secret, needed only for s3://."""
        return self._check_secret(AWS_SPEC)

    def _check_secret(self, spec: SecretSpec) -> Outcome:
        from multitalk_cli.cloud.secrets.account import find_keys

        command = f"multitalk setup-secrets --only {spec.option}"
        found = find_keys(self.cloud.place, spec.name, spec.required)
        if found is None:
            text = f"{spec.name} not set up (only needed for {_NEEDED_FOR[spec.name]})"
            return Outcome(text=text, state="skip", remedy=command)
        absent = [key for key in spec.required if key not in found]
        if absent:
            text = f"{spec.name} lacks {', '.join(absent)}"
            remedy = f"{command} --update"
            return Outcome(text=text, state="fail", remedy=remedy, code="E_SECRET_INCOMPLETE")
        return Outcome(text=spec.name)

    def check_bucket(self) -> Outcome:
        """Writes, reads and deletes a tiny object from a container of the app."""
        if contract.AWS_SECRET not in self.record.get("secrets", ()):
            text = f"the app was deployed before {contract.AWS_SECRET} was set up"
            raise self._deploy_again(text)
        wire = {"contract": contract.CONTRACT_VERSION, "client": __version__}
        answer = as_answer(self.cloud.call(contract.STORAGE_FUNCTION, wire))
        bucket, seconds = str(answer["bucket"]), float(answer["seconds"])
        return Outcome(text=f"s3://{bucket} written, read and deleted in {human_duration(seconds)}")


def check_clock() -> Outcome:
    """This machine's clock against the time of Modal's server."""
    try:
        theirs = _server_time(urlsplit(modal_config.server_url()))
    except SetupError:
        # The check of the network names what is wrong with the address.
        theirs = None
    if theirs is None:
        return Outcome(text="clock not compared: the server sent no time", state="skip")
    skew_s = (datetime.now(UTC) - theirs).total_seconds()
    if abs(skew_s) < _SKEW_WARN_S:
        return Outcome(text="clock OK")
    way = "ahead" if skew_s > 0 else "behind"
    text = f"the clock is {human_duration(abs(skew_s))} {way}"
    is_macos = sys.platform == "darwin"
    remedy = "sudo sntp -sS time.apple.com" if is_macos else "sudo timedatectl set-ntp true"
    if abs(skew_s) < _SKEW_FAIL_S:
        return Outcome(text=text, state="warn", remedy=remedy)
    return Outcome(text=text, state="fail", remedy=remedy, code="E_S3_CLOCK")


def _server_time(url: SplitResult) -> datetime | None:
    """The date of the server's answer; None without one that can be read."""
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
