"""The user's store as the source of inputs and the destination of a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.errors import UsageError
from multitalk_cli.generation import output_path
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.generation.backends.base import Backend
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.settings import Settings
    from multitalk_cli.storage.upload import UploadTarget


def choose_upload(
    args: GenerateArgs, settings: Settings, spec: GenerateSpec, backend: Backend
) -> UploadTarget | None:
    """The place in the store for the video. Raises UsageError for options that contradict."""
    is_output = args.output is not None and is_stored(args.output)
    if not is_output and not args.upload and args.upload_to is None:
        return None
    require_store(spec, backend)
    if is_output and (args.upload or args.upload_to is not None):
        raise UsageError(
            "-o s3:// stores the video, and --upload does so too",
            code="E_CONFLICT",
            facts={"options": ("-o s3://", "--upload")},
        )
    if is_output and settings["sidecar"]:
        raise UsageError(
            "--sidecar needs a file to write next to, and -o s3:// makes none",
            code="E_CONFLICT",
            facts={"options": ("-o s3://", "--sidecar")},
        )
    return output_path.choose_upload(
        args.output if is_output else args.upload_to,
        output_names(args, spec, spec.options.seed, preview=not backend.model_output),
        overwrite=args.force,
    )


def output_names(
    args: GenerateArgs, spec: GenerateSpec, seed: int, *, preview: bool
) -> output_path.OutputNames:
    """The words that an output's name is made of."""
    return output_path.OutputNames(
        image=spec.image.path,
        voices=tuple(voice.path for voice in spec.voices),
        seed=seed,
        preview=preview,
        is_foreign=bool(spec.stored),
        given=args.name,
    )


def require_store(spec: GenerateSpec, backend: Backend) -> CloudStore:
    """The backend's store. Raises UsageError E_CONFLICT for a backend without one."""
    if backend.store is not None:
        return backend.store
    if spec.stored:
        addresses = tuple(ref.text for ref in spec.stored)
        raise UsageError(
            f"{addresses[0]} is read by --backend modal only, not by {backend.name}",
            code="E_CONFLICT",
            facts={"addresses": addresses},
        )
    raise UsageError(
        f"videos are stored by --backend modal only, not by {backend.name}",
        code="E_CONFLICT",
        facts={"options": ("--upload", "--backend")},
    )
