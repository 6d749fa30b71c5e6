"""`multitalk deploy`: the app into the user's Modal account."""

from typing import Annotated

import typer

from multitalk_cli import contract, settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment


def deploy(
    ctx: typer.Context,
    stack: Annotated[
        list[str] | None,
        typer.Option(metavar="STACK", help="Add cuda12.1, torch 2.4.1 beside the current one."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="GPU", help="The default GPU of generate.")
    ] = None,
    environment: Environment = None,
    app: AppName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be created; needs no network.")
    ] = False,
) -> None:
    """Put the app into your Modal account; again after an upgrade."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.deploy import add_secrets, deploy_app, plan_deploy
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.readiness import next_command

    output: Console = ctx.obj
    chosen = settings.load_settings({"environment": environment, "app": app, "gpu": gpu})
    stacks = [settings.parse_option("stack", each) for each in stack or ()]
    place = AppRef(app=chosen["app"], environment=chosen["environment"])
    planned = plan_deploy(place, stacks, chosen["gpu"])
    output.fact("app", f"{place.app}, stacks {', '.join(planned.deployment.stacks)}")
    output.fact("cards", ", ".join(planned.deployment.gpus))
    output.fact("volumes", ", ".join(planned.data()["volumes"]))
    if dry_run:
        output.fact("secrets", f"those of {', '.join(contract.SECRETS)} that the account has")
        lines = [line for image in planned.images.values() for line in [*image, ""]]
        output.succeed("deploy", {**planned.data(), "deployed": False}, lines[:-1])
        return
    cloud = Cloud.reachable(place)
    planned = add_secrets(planned)
    output.fact("secrets", _describe_secrets(planned.deployment.secrets))
    with output.redirect_stdout():
        deploy_app(cloud, planned, show_build=not output.options.quiet)
    output.note(f"next:  {next_command(cloud)}")
    output.succeed("deploy", {**planned.data(), "deployed": True}, [place.app])


def _describe_secrets(found: tuple[str, ...]) -> str:
    absent = [name for name in contract.SECRETS if name not in found]
    return ", ".join([*found, *(f"no {name}" for name in absent)])
