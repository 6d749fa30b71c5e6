"""`multitalk config`: settings with their values and origins."""

from pathlib import Path
from typing import Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.layout import Table
from multitalk_cli.files import is_there

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Show and change settings.",
    epilog=epilog("multitalk config show", "multitalk config set fps 25"),
)


@app.command("show", cls=PagedCommand, epilog=epilog("multitalk config show"))
def show(ctx: typer.Context) -> None:
    """Show every setting with its value and origin."""
    console: Console = ctx.obj
    items = settings.load_settings().items()
    data = {
        setting.name: {"value": value.value, "origin": value.origin} for setting, value in items
    }
    rows = [
        (setting.name, _text(value.value), value.origin, setting.help) for setting, value in items
    ]
    table = Table(
        rows=rows, titles=("setting", "value", "from", "meaning"), below=(2, 1), gives_way=(3,)
    )
    console.succeed("config", {"settings": data}, [table])


@app.command("path", cls=PagedCommand, epilog=epilog("multitalk config path"))
def path(ctx: typer.Context) -> None:
    """Show the settings files in order of precedence."""
    console: Console = ctx.obj
    found = [(file.absolute(), is_there(file)) for file in settings.files()]
    data = {"files": [{"path": str(file), "exists": exists} for file, exists in found]}
    lines = [f"{file}{'' if exists else '  (does not exist)'}" for file, exists in found]
    console.succeed("config", data, lines)


@app.command("set", cls=PagedCommand, epilog=epilog("multitalk config set fps 25"))
def set_(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name listed by: multitalk config show.")
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")],
    project: Annotated[
        bool,
        typer.Option("--project", help="Write ./multitalk.toml instead of the user's file."),
    ] = False,
) -> None:
    """Change a setting permanently."""
    console: Console = ctx.obj
    setting = settings.find_setting(name)
    if setting.name == "weights":
        from multitalk_cli.generation.backends.local import find_weights

        folder = find_weights(value)
        # The user's file holds for every folder.
        value = value if project else str(folder.absolute())
    file = _file(project)
    saved = settings.save_setting(file, setting, value)
    data = {"name": setting.name, "value": saved, "file": str(file)}
    console.succeed("config", data, [f"{setting.name} = {_text(saved)}  ({file})"])


@app.command("unset", cls=PagedCommand, epilog=epilog("multitalk config unset fps"))
def unset(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name in the file, also an unknown one.")
    ],
    project: Annotated[
        bool,
        typer.Option("--project", help="Change ./multitalk.toml instead of the user's file."),
    ] = False,
) -> None:
    """Remove a setting from a settings file."""
    console: Console = ctx.obj
    file = _file(project)
    name = settings.NAMES.get(name.replace("-", "_"), name)
    is_removed = settings.remove_setting(file, name)
    text = f"{name} removed from {file}" if is_removed else f"{name} is not in {file}"
    console.succeed("config", {"name": name, "file": str(file), "removed": is_removed}, [text])


def _file(project: bool) -> Path:
    return Path(settings.PROJECT_FILE) if project else settings.user_file()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
