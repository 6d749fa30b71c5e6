"""`multitalk deploy`: deployment of the app to the user's Modal account."""

from typing import Annotated

import typer

from multitalk_cli import contract, settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment


def deploy(
    ctx: typer.Context,
    stack: Annotated[
        list[str] | None,
        typer.Option(metavar="STACK", help="Add cuda12.1 (torch 2.4.1) to the current stack."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="GPU", help="The default GPU of generate.")
    ] = None,
    environment: Environment = None,
    app: AppName = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show everything that would be created; works offline."),
    ] = False,
) -> None:
    """Deploy the app to your Modal account; repeat it after an upgrade."""
    from multitalk_cli.cli.views import deploy as view
    from multitalk_cli.cli.views.next_step import after_deploy
    from multitalk_cli.cloud import modal_config
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.deploy import add_secrets, deploy_app, plan_deploy
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.readiness import find_obstacle

    console: Console = ctx.obj
    chosen = settings.load_settings({"environment": environment, "app": app, "gpu": gpu})
    stacks = [settings.parse_option("stack", each) for each in stack or ()]
    place = AppRef(app=chosen["app"], environment=chosen["environment"])
    plan = plan_deploy(place, stacks, chosen["gpu"])
    if not dry_run:
        modal_config.require_token()
    for label, text in view.facts(plan):
        console.fact(label, text)
    if dry_run:
        console.fact("secrets", f"{' and '.join(contract.SECRETS)}, if the account has them")
        console.succeed("deploy", view.data(plan, is_deployed=False), view.recipe_blocks(plan))
        return
    cloud = Cloud.reachable(place)
    plan = add_secrets(plan)
    console.fact("secrets", view.secrets_text(plan.deployment.secrets))
    with console.redirect_stdout():
        deploy_app(cloud, plan, console, shows_log=console.options.debug)
    console.next(after_deploy(find_obstacle(cloud), console.typed))
    console.succeed("deploy", view.data(plan, is_deployed=True), [place.app])
