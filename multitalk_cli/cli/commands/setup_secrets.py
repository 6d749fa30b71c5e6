"""`multitalk setup-secrets`: keys of S3 and of the Hugging Face Hub in the Modal account."""

from typing import Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Force
from multitalk_cli.cli.stdin import read_pipe
from multitalk_cli.contract.secrets import BUCKET, ENDPOINT, REGION, SECRET_SPECS
from multitalk_cli.errors import UsageError

EXAMPLES = (
    "multitalk setup-secrets",
    "multitalk setup-secrets --only aws --profile NAME --bucket NAME",
    "multitalk setup-secrets --from-env --update",
)

_Only = Annotated[str | None, typer.Option(metavar="WHICH", help="aws or hf; both by default.")]
_FromEnv = Annotated[bool, typer.Option("--from-env", help="Use AWS_ variables and HF_TOKEN.")]
_Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="Use a profile of your AWS configuration.")
]
_FromHub = Annotated[
    bool, typer.Option("--from-hub", help="Use the token of the Hugging Face Hub's own login.")
]
_FromFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Use KEY=VALUE lines of a file that only you can read."),
]
_Stdin = Annotated[bool, typer.Option("--stdin", help="Use KEY=VALUE lines from a pipe.")]
_Bucket = Annotated[
    str | None, typer.Option(metavar="NAME", help="Bucket; by default the setting bucket.")
]
_Region = Annotated[
    str | None, typer.Option(metavar="NAME", help="Region of the bucket; detected by default.")
]
_Endpoint = Annotated[
    str | None, typer.Option(metavar="URL", help="Endpoint of an S3 store other than Amazon's.")
]
_Update = Annotated[
    bool, typer.Option("--update", help="Set these keys and keep the others of the secret.")
]
_NoVerify = Annotated[bool, typer.Option("--no-verify", help="Save without verifying.")]


def setup_secrets(
    ctx: typer.Context,
    only: _Only = None,
    from_env: _FromEnv = False,
    profile: _Profile = None,
    from_hub: _FromHub = False,
    from_file: _FromFile = None,
    stdin: _Stdin = False,
    bucket: _Bucket = None,
    region: _Region = None,
    endpoint_url: _Endpoint = None,
    update: _Update = False,
    force: Force = False,
    no_verify: _NoVerify = False,
    environment: Environment = None,
    app: AppName = None,
) -> None:
    """Store keys of a bucket and of the Hugging Face Hub in your Modal account.

    Both are optional. Asks with hidden input, verifies the values, and saves
    them as the Modal secrets aws-secret and huggingface-secret. No option takes
    a secret, because shells keep a history.
    """
    from multitalk_cli.cli.views import secrets as view
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.secrets.setup import SecretOptions, set_up
    from multitalk_cli.cloud.secrets.sources import MAX_BYTES, Sources

    console: Console = ctx.obj
    _check_words(ctx.args, only, update, force)
    chosen = settings.load_settings({"environment": environment, "app": app})
    given = {BUCKET: bucket, REGION: region, ENDPOINT: endpoint_url}
    sources = Sources(
        from_env=from_env,
        profile=profile,
        from_hub=from_hub,
        from_file=from_file,
        stdin=read_pipe(MAX_BYTES, "multitalk setup-secrets") if stdin else None,
    )
    options = SecretOptions(
        place=AppRef(app=chosen["app"], environment=chosen["environment"]),
        sources=sources,
        only="" if only is None else only,
        given={key: value for key, value in given.items() if value is not None},
        update=update,
        force=force,
        verify=not no_verify,
    )
    result = set_up(options, console)
    console.next(view.next_step(result, console.typed))
    console.succeed("setup-secrets", view.data(result, console.typed), view.lines(result))


def _check_words(words: list[str], only: str | None, update: bool, force: bool) -> None:
    """Raises UsageError for words and options that do not fit; never shows them."""
    if words:
        raise UsageError(
            "values do not belong on a command line: your shell keeps it, and others can see it\n"
            "If that was a secret, revoke it and create another.",
            code="E_USAGE",
            hint="multitalk setup-secrets",
        )
    if only is not None and only not in SECRET_SPECS:
        message = f"--only must be one of {', '.join(SECRET_SPECS)}"
        raise UsageError(message, code="E_RANGE", hint="multitalk setup-secrets --help")
    if update and force:
        raise UsageError("--update keeps what --force removes", code="E_CONFLICT")
