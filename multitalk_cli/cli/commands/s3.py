"""`multitalk s3`: what is in your bucket, and how it comes here."""

from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import Force, OutputPath
from multitalk_cli.errors import UsageError

LS_EXAMPLES = ("multitalk s3 ls", "multitalk s3 ls s3://my-bucket/ --recursive")
GET_EXAMPLES = (
    "multitalk s3 get --latest",
    "multitalk s3 get 'outputs/*.mp4' -o videos/",
    "multitalk s3 get s3://my-bucket/outputs/talk.mp4 -o talk.mp4",
)
PUT_EXAMPLES = ("multitalk s3 put voice.wav s3://my-bucket/inputs/",)
URL_EXAMPLES = ("multitalk s3 url outputs/talk.mp4 --expires 1h",)

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="List, fetch and store objects of your S3 bucket.",
    epilog=epilog(*LS_EXAMPLES[:1], *GET_EXAMPLES[:1], *URL_EXAMPLES),
)

_Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="A profile of your AWS configuration.")
]
_Endpoint = Annotated[str | None, typer.Option(metavar="URL", help="A store that is not Amazon's.")]


@app.command("ls", cls=PagedCommand, epilog=epilog(*LS_EXAMPLES))
def ls(
    ctx: typer.Context,
    prefix: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="s3://BUCKET/PREFIX or PREFIX; outputs/ if absent."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Show what is in folders too.")
    ] = False,
    limit: Annotated[
        str, typer.Option("--limit", metavar="N", help="Show the N newest objects.")
    ] = "100",
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
) -> None:
    """List what is in your bucket, the newest last."""
    from multitalk_cli.cli.views import s3
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    most = s3.parse_limit(settings.parse_whole("--limit", limit))
    address = transfer.to_address(transfer.OUTPUTS if prefix is None else prefix, _own_bucket())
    store = client.Storage(Access(profile=profile, endpoint_url=endpoint_url))
    s3.show_listing(store, address, most, recursive, ctx.obj)


@app.command("get", cls=PagedCommand, epilog=epilog(*GET_EXAMPLES))
def get(
    ctx: typer.Context,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY...", help="s3://BUCKET/KEY or KEY; patterns in quotes."),
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Fetch the newest object, of outputs/ or of KEY.")
    ] = False,
    output_path: OutputPath = None,
    force: Force = False,
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
) -> None:
    """Fetch objects; one that was begun goes on where it stopped."""
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    words = list(keys or ())
    _check_words(words, latest)
    if latest and not words:
        words = [transfer.OUTPUTS]
    to_address = transfer.to_address if latest else transfer.to_object_address
    addresses = [to_address(word, _own_bucket()) for word in words]
    store = client.Storage(Access(profile=profile, endpoint_url=endpoint_url))
    if latest:
        addresses = [transfer.latest(store, addresses[0])]
    transfer.fetch(store, addresses, output_path, force, ctx.obj)


@app.command("put", cls=PagedCommand, epilog=epilog(*PUT_EXAMPLES))
def put(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to store.")],
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="s3://BUCKET/KEY or KEY; outputs/ if absent."),
    ] = None,
    force: Force = False,
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
) -> None:
    """Store a file in your bucket."""
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    address = transfer.to_address(transfer.OUTPUTS if key is None else key, _own_bucket())
    store = client.Storage(Access(profile=profile, endpoint_url=endpoint_url))
    transfer.store(store, Path(file), address, force, ctx.obj)


@app.command("url", cls=PagedCommand, epilog=epilog(*URL_EXAMPLES))
def url(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="s3://BUCKET/KEY or KEY.")],
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it works: 45m, 1h, at most 7d.")
    ] = "1h",
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
) -> None:
    """Make a web address that anybody can read an object with, for a while."""
    from multitalk_cli.cli.views import s3
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    expires_s = s3.parse_expiry(expires)
    address = transfer.to_object_address(key, _own_bucket())
    store = client.Storage(Access(profile=profile, endpoint_url=endpoint_url))
    s3.show_url(store, address, expires_s, ctx.obj)


def _own_bucket() -> str:
    return str(settings.load_settings()["bucket"])


def _check_words(words: list[str], latest: bool) -> None:
    """Raises UsageError where `get` is not told what, or told twice."""
    if not words and not latest:
        raise UsageError("no KEY was given", code="E_USAGE", hint="multitalk s3 get --latest")
    if latest and len(words) > 1:
        raise UsageError(
            "--latest takes one place to look in",
            code="E_CONFLICT",
            hint="multitalk s3 get --latest s3://BUCKET/FOLDER/",
        )
