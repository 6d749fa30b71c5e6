"""`multitalk upload-weights`: a pack of weights from this machine into the user's Modal account."""

from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment


def upload_weights(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="PACK", help="A folder with a manifest.json, as packed.")
    ],
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Upload a pack of weights to your Modal account, where every job reads it."""
    from multitalk_cli.cli.app_options import for_app
    from multitalk_cli.cli.views import download as view
    from multitalk_cli.cli.views.next_step import GENERATE
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.pack import list_pack_files, upload_pack

    console: Console = ctx.obj
    files = list_pack_files(folder)
    chosen = settings.load_settings({"app": app, "environment": environment})
    cloud = Cloud.reachable(AppRef(app=chosen["app"], environment=chosen["environment"]))
    uploaded = upload_pack(cloud, files, console)
    console.next(for_app(GENERATE, cloud.place.facts))
    console.succeed("upload-weights", view.uploaded_data(uploaded))
