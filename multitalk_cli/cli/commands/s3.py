"""`multitalk s3`: listing, fetching and storing objects of the user's bucket."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import Force, OutputPath
from multitalk_cli.errors import UsageError

LS_EXAMPLES = ("multitalk s3 ls", "multitalk s3 ls s3://my-bucket/ --recursive")
GET_EXAMPLES = (
    "multitalk s3 get --latest",
    "multitalk s3 get 'outputs/*.mp4' -o videos/",
    "multitalk s3 get s3://my-bucket/outputs/talk.mp4 -o talk.mp4",
)
PUT_EXAMPLES = (
    "multitalk s3 put voice.wav s3://my-bucket/inputs/",
    "multitalk s3 put *.wav inputs/",
)
URL_EXAMPLES = ("multitalk s3 url outputs/talk.mp4 --expires 1h",)

MAX_LISTED = 100_000
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="List, fetch and store objects of your S3 bucket.",
    epilog=epilog(*LS_EXAMPLES[:1], *GET_EXAMPLES[:1], *URL_EXAMPLES),
)

_Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="Profile of your AWS configuration.")
]
_Endpoint = Annotated[
    str | None, typer.Option(metavar="URL", help="Endpoint of an S3 store other than Amazon's.")
]
_Pays = Annotated[
    bool, typer.Option("--requester-pays", help="Pay for requests to another account's bucket.")
]


@app.command("ls", cls=PagedCommand, epilog=epilog(*LS_EXAMPLES))
def ls(
    ctx: typer.Context,
    prefix: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="s3://BUCKET/PREFIX or PREFIX; outputs/ by default."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Include objects in folders.")
    ] = False,
    limit: Annotated[
        str, typer.Option("--limit", metavar="N", help="Show the N newest objects.")
    ] = "100",
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
    requester_pays: _Pays = False,
) -> None:
    """List the objects of your bucket, the newest last."""
    from multitalk_cli.cli.views import s3 as view
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    console: Console = ctx.obj
    count = _parse_limit(limit)
    uri = transfer.to_uri(transfer.OUTPUTS if prefix is None else prefix, _own_bucket())
    storage = client.Storage(
        Access(profile=profile, endpoint_url=endpoint_url, pays=requester_pays)
    )
    found = transfer.list_newest(storage, uri, count, recursive=recursive)
    for note in view.listing_notes(found, MAX_LISTED):
        console.note(note)
    console.succeed("s3", view.listing_data(found), view.listing_blocks(found, time.time()))


@app.command("get", cls=PagedCommand, epilog=epilog(*GET_EXAMPLES))
def get(
    ctx: typer.Context,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY...", help="s3://BUCKET/KEY or KEY; quote patterns."),
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Fetch the newest object below KEY, or outputs/.")
    ] = False,
    output_path: OutputPath = None,
    force: Force = False,
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
    requester_pays: _Pays = False,
) -> None:
    """Fetch objects; an interrupted download is resumed."""
    from multitalk_cli.cli.views import s3 as view
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    console: Console = ctx.obj
    words = list(keys or ())
    _check_words(words, latest)
    if latest and not words:
        words = [transfer.OUTPUTS]
    to_uri = transfer.to_uri if latest else transfer.to_object_uri
    uris = [to_uri(word, _own_bucket()) for word in words]
    storage = client.Storage(
        Access(profile=profile, endpoint_url=endpoint_url, pays=requester_pays)
    )
    if latest:
        uris = [transfer.latest(storage, uris[0])]
    files = transfer.fetch(storage, uris, output_path, overwrite=force, reporter=console)
    console.succeed("s3", view.fetched_data(files), view.fetched_lines(files))


@app.command("put", cls=PagedCommand, epilog=epilog(*PUT_EXAMPLES))
def put(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [KEY]",
            help="Files to store; s3://BUCKET/KEY or KEY, outputs/ by default. KEY/ is a folder.",
        ),
    ],
    force: Force = False,
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
    requester_pays: _Pays = False,
) -> None:
    """Store files in your bucket."""
    from multitalk_cli.cli.views import s3 as view
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    console: Console = ctx.obj
    files, key = transfer.split_sources(words)
    uri = transfer.to_uri(transfer.OUTPUTS if key is None else key, _own_bucket())
    storage = client.Storage(
        Access(profile=profile, endpoint_url=endpoint_url, pays=requester_pays)
    )
    sources = [Path(file) for file in files]
    stored = transfer.store(storage, sources, uri, overwrite=force, reporter=console)
    console.succeed("s3", view.stored_data(stored), view.stored_lines(stored))


@app.command("url", cls=PagedCommand, epilog=epilog(*URL_EXAMPLES))
def url(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="s3://BUCKET/KEY or KEY.")],
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="Lifetime: 45m, 1h, at most 7d.")
    ] = "1h",
    profile: _Profile = None,
    endpoint_url: _Endpoint = None,
    requester_pays: _Pays = False,
) -> None:
    """Create a URL with which anyone can read an object for a limited time."""
    from multitalk_cli.cli.views import s3 as view
    from multitalk_cli.storage import client, transfer
    from multitalk_cli.storage.access import Access

    console: Console = ctx.obj
    expires_s = _parse_expiry(expires, client.MAX_URL_S)
    uri = transfer.to_object_uri(key, _own_bucket())
    storage = client.Storage(
        Access(profile=profile, endpoint_url=endpoint_url, pays=requester_pays)
    )
    signed = transfer.sign_url(storage, uri, expires_s)
    if signed.ends_with_session:
        console.warn("the URL expires with the session of your credentials, if that is sooner")
    console.reveal(signed.url)
    console.note(view.url_note(signed))
    console.succeed("s3", view.url_data(signed), view.url_lines(signed))


def _own_bucket() -> str:
    return str(settings.load_settings()["bucket"])


def _check_words(words: list[str], latest: bool) -> None:
    """Raises UsageError if `get` has no KEY, or --latest several."""
    if not words and not latest:
        raise UsageError("no KEY was given", code="E_USAGE", hint="multitalk s3 get --latest")
    if latest and len(words) > 1:
        raise UsageError(
            "--latest takes only one KEY",
            code="E_CONFLICT",
            hint="multitalk s3 get --latest s3://BUCKET/FOLDER/",
        )


def _parse_limit(text: str) -> int:
    """The number of objects to show. Raises UsageError E_RANGE."""
    limit = settings.parse_whole("--limit", text)
    if not 1 <= limit <= MAX_LISTED:
        raise UsageError(
            f"--limit must be from 1 to {MAX_LISTED}, not {limit}",
            code="E_RANGE",
            hint="multitalk s3 ls --help",
        )
    return limit


def _parse_expiry(text: str, max_s: int) -> int:
    """Seconds in `45m`, `1h`, `7d` or a number of seconds. Raises UsageError E_RANGE."""
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= seconds <= max_s:
        raise UsageError(
            f"--expires must be from 1s to 7d, not {text!r}",
            code="E_RANGE",
            facts={"option": "--expires", "example": "7d" if seconds > max_s else "1h"},
        )
    return seconds
