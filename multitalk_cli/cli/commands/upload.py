"""`multitalk upload`: a pack of weights from this machine into the user's Modal account."""

from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import contract, settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment
from multitalk_cli.cloud.pack import read_manifest
from multitalk_cli.errors import FileError
from multitalk_cli.reporting.formatting import human_bytes, human_count

MANIFEST = "manifest.json"


def upload(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="PACK", help="A folder with a manifest.json, as packed.")
    ],
    app: AppName = None,
    environment: Environment = None,
) -> None:
    """Put a pack of weights into your Modal account, where every job reads it."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef

    output: Console = ctx.obj
    files = check_pack(folder)
    size_bytes = sum(path.stat().st_size for path in files)
    what = f"{human_count(len(files), 'file')}, {human_bytes(size_bytes)}"
    output.fact("pack", f"{what} to the Volume {contract.WEIGHTS_VOLUME}")
    chosen = settings.load_settings({"app": app, "environment": environment})
    cloud = Cloud.reachable(AppRef(app=chosen["app"], environment=chosen["environment"]))
    cloud.upload(contract.WEIGHTS_VOLUME, files, f"/{contract.PACK_FOLDER}")
    output.note("next:  multitalk generate PICTURE VOICE")
    data = {"files": len(files), "bytes": size_bytes, "volume": contract.WEIGHTS_VOLUME}
    output.succeed("upload", data, [])


def check_pack(folder: Path) -> list[Path]:
    """The files of a pack, its manifest last. Raises FileError where one is absent or cut off."""
    try:
        pack = read_manifest((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise FileError(
            f"{str(folder)!r} holds no pack that can be used: {error}",
            code="E_FILE_UNREADABLE",
            hint="multitalk download --to weights",
        ) from None
    # Names come from a file: nothing of them may lead out of the folder.
    sizes = {Path(name).name: size for name, size in pack.sizes.items()}
    for name, size in sizes.items():
        path = folder / name
        seen = path.stat().st_size if path.is_file() else None
        if seen != size:
            found = "is absent" if seen is None else f"has {seen} bytes"
            raise FileError(
                f"{str(path)!r} {found}, its manifest says {size}",
                code="E_FILE_UNREADABLE",
                hint="multitalk download --to weights --repair",
            )
    return [*(folder / name for name in sizes), folder / MANIFEST]
