"""`multitalk setup-secrets`: keys of S3 and of the Hugging Face hub into the Modal account."""

from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.options import Environment, Force
from multitalk_cli.errors import UsageError

EXAMPLES = (
    "multitalk setup-secrets",
    "multitalk setup-secrets --only aws --profile NAME --bucket NAME",
    "multitalk setup-secrets --from-env --update",
)
ONLY = ("aws", "hf")


def setup_secrets(
    ctx: typer.Context,
    only: Annotated[
        str | None, typer.Option(metavar="WHICH", help="aws or hf alone; both if absent.")
    ] = None,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Take AWS_ variables and HF_TOKEN.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take a profile of your AWS configuration.")
    ] = None,
    from_hub: Annotated[
        bool, typer.Option("--from-hub", help="Take the token of the hub's own login.")
    ] = False,
    from_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Take KEY=VALUE lines that only you may read."),
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Take KEY=VALUE lines from a pipe.")
    ] = False,
    bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="The bucket; the setting of that name.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its region; found out if absent.")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A store that is not Amazon's.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Set these keys of a secret and keep its others.")
    ] = False,
    force: Force = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Save without trying the values.")
    ] = False,
    environment: Environment = None,
) -> None:
    """Give your Modal account keys of a bucket and of the Hugging Face hub.

    Both are optional. Asks without showing what you type, tries the values, and
    saves them as the Modal secrets aws-secret and huggingface-secret. No option
    takes a secret, because shells keep what is typed.
    """
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.secrets.keys import BUCKET, ENDPOINT, REGION
    from multitalk_cli.cloud.secrets.setup import SecretOptions, set_up
    from multitalk_cli.cloud.secrets.sources import Sources

    _check_words(ctx.args, only, update, force)
    chosen = settings.load_settings({"environment": environment})
    given = {BUCKET: bucket, REGION: region, ENDPOINT: endpoint_url}
    wish = SecretOptions(
        place=AppRef(app=chosen["app"], environment=chosen["environment"]),
        sources=Sources(
            from_env=from_env,
            profile=profile,
            from_hub=from_hub,
            from_file=from_file,
            stdin=stdin,
        ),
        only=only or "",
        given={key: value for key, value in given.items() if value is not None},
        update=update,
        force=force,
        verify=not no_verify,
    )
    set_up(wish, ctx.obj)


def _check_words(words: list[str], only: str | None, update: bool, force: bool) -> None:
    """Raises UsageError for what cannot be meant; shows none of it, as it may be a secret."""
    if words:
        raise UsageError(
            "values do not belong on a command line: your shell keeps it, and others can see it\n"
            "If that was a secret, withdraw it where you got it and make another.",
            code="E_USAGE",
            hint="multitalk setup-secrets",
        )
    if only is not None and only not in ONLY:
        message = f"--only must be one of {', '.join(ONLY)}"
        raise UsageError(message, code="E_RANGE", hint="multitalk setup-secrets --help")
    if update and force:
        raise UsageError("--update keeps what --force removes", code="E_CONFLICT")
