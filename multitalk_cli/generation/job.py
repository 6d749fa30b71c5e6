"""One video to make, with everything decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import FIRST_WINDOW
from multitalk_cli.errors import MultitalkError, UsageError
from multitalk_cli.generation import output_path, reuse
from multitalk_cli.generation.arguments import known_inputs
from multitalk_cli.generation.backends.base import Backend, Wanted
from multitalk_cli.generation.backends.select import choose_backend
from multitalk_cli.generation.prepared_inputs import (
    LocalInputs,
    PreparedInputs,
    prepare_in_cloud,
)
from multitalk_cli.generation.spec import GenerateArgs, build_spec
from multitalk_cli.generation.store import choose_upload, output_names, require_store
from multitalk_cli.jobs.experience import read_experience
from multitalk_cli.media.video.names import first_of, whole_of
from multitalk_cli.planning import cost, gpus, presets, rates
from multitalk_cli.planning.cost import Estimate, Experience, Setup
from multitalk_cli.planning.inputs import GenerateSpec
from multitalk_cli.planning.prepare import check_inputs
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings
    from multitalk_cli.storage.upload import UploadTarget


SINGLE_WINDOW = "the video has a single window: --first makes all of it"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerateJob:
    """One video to make: prepared inputs, where it goes, and its recipe.

    target: the file that this command writes; None where the video is only stored. whole: the file
    of the whole video. first: whether only the first window is made.
    """

    job_id: str
    args: GenerateArgs
    spec: GenerateSpec
    settings: Settings
    inputs: PreparedInputs
    backend: Backend
    target: Path | None
    upload: UploadTarget | None
    recipe: dict[str, Any]
    whole: Path | None
    first: bool

    @property
    def plan(self) -> Plan:
        """The plan of what this command makes."""
        plan = self.inputs.summary.plan
        return plan.first_window if self.first else plan

    @property
    def video_recipe(self) -> dict[str, Any]:
        """The recipe as the file will have it, as far as that is known before."""
        return {**self.recipe, FIRST_WINDOW: True} if self.first else self.recipe

    @property
    def wanted(self) -> Wanted:
        """The video, as jobs of earlier commands are compared with it."""
        return Wanted(
            target=None if self.args.is_temporary else self.whole,
            first=self.first,
            inputs=known_inputs(self.spec, self.inputs.summary),
            fingerprints=lambda: self.inputs.build_request(self.job_id, self.recipe).fingerprints,
            overwrite=self.args.force,
            recipe=self.recipe,
        )

    @property
    def name(self) -> str:
        """The name of the whole video's file or object."""
        if self.whole is not None:
            return self.whole.name
        key = "" if self.upload is None else self.upload.key.rpartition("/")[2]
        stem = self.job_id if self.upload is None else self.upload.stem
        return key if key else f"{stem}.mp4"


@contextmanager
def open_job(
    args: GenerateArgs,
    settings: Settings,
    reporter: Reporter,
    *,
    prepared: PreparedInputs | None = None,
) -> Iterator[GenerateJob]:
    """The job for the arguments; inputs that no run needs are removed when the block ends.

    prepared: inputs that were read before, for the seed of the arguments.

    Raises what is wrong with the arguments, the inputs or the set-up; nothing is paid.
    """
    spec = build_spec(args, settings)
    _check_first(args)
    if settings.origin("loudness") != "default":
        reporter.note(
            "--loudness and --no-loudness change nothing: the model scales every voice to one "
            "level; --sound-level sets the level of the video's sound"
        )
    if not spec.stored and prepared is None:
        check_inputs(spec.image, spec.voices)
    backend = choose_backend(settings, reporter, detach=args.detach)
    if settings["fail_under"] is not None and not backend.model_output:
        reporter.note("--fail-under is for videos of the model; a preview is not judged")
    upload = choose_upload(args, settings, spec, backend)
    if prepared is None:
        prepared = _prepare(spec, backend, upload, reporter)
    with closing(prepared) as inputs:
        job_id, recipe = inputs.identify(backend)
        recipe |= lora_entry(backend)
        first = args.first and len(inputs.summary.plan.windows) > 1
        if args.first and not first:
            reporter.note(SINGLE_WINDOW)
        target, whole = None, None
        if args.output is None or not is_stored(args.output):
            names = output_names(args, spec, recipe["seed"], preview=not backend.model_output)
            target, whole = _choose_files(args.output, names, first=first)
        yield GenerateJob(
            job_id=job_id,
            args=args,
            spec=spec,
            settings=settings,
            inputs=inputs,
            backend=backend,
            target=target,
            upload=upload,
            recipe=recipe,
            whole=whole,
            first=first,
        )


def _check_first(args: GenerateArgs) -> None:
    """Raises UsageError where a first window would have no file."""
    if args.first and args.output is not None and is_stored(args.output):
        raise UsageError(
            "--first writes a file to look at, and -o s3:// makes none: pass --upload-to for the "
            "whole video",
            code="E_CONFLICT",
            facts={"options": ("--first", "-o s3://")},
        )


def _choose_files(
    output: str | None, names: output_path.OutputNames, *, first: bool
) -> tuple[Path, Path]:
    """The file to write, and that of the whole video. first: whether a first window is written."""
    chosen = output_path.choose_output(output, names)
    if not first:
        return chosen, chosen
    whole = whole_of(chosen)
    return output_path.checked(first_of(whole), names), whole


def lora_entry(backend: Backend) -> dict[str, str]:
    """The recipe's entry for the content of a LoRA, whose name another file may have later.

    Nothing where that cannot be known now: what makes the video reports why.
    """
    try:
        digests = backend.find_loras()
    except MultitalkError:
        return {}
    return {reuse.LORA_CONTENT: ",".join(digests.values())} if digests else {}


def _prepare(
    spec: GenerateSpec, backend: Backend, upload: UploadTarget | None, reporter: Reporter
) -> PreparedInputs:
    if not spec.stored:
        store = None if upload is None else require_store(spec, backend)
        return LocalInputs(spec, store, upload)
    store = require_store(spec, backend)
    return prepare_in_cloud(spec, store, upload, reporter, for_plan=False)


def experience(settings: Settings) -> Experience:
    """What this account's own videos took."""
    return read_experience(settings["app"], settings["environment"])


def chosen_setup(settings: Settings) -> Setup:
    """What the settings ask of a GPU."""
    parameters = settings["persistent_params"]  # users write 8e9
    return Setup(
        stack=settings["stack"],
        attention=settings["attention"],
        persistent_params=None if parameters is None else int(parameters),
        tier=settings["tier"],
    )


def chosen_gpu(settings: Settings) -> str:
    """The GPU that the settings name."""
    return gpus.find_gpu(settings["gpu"]).name


def priced_gpu(settings: Settings) -> str:
    """The GPU to estimate a price for: `auto` covers each that it may take."""
    return gpus.AUTO if settings["gpu"] == gpus.AUTO else chosen_gpu(settings)


def check_gpu(settings: Settings, plan: Plan, *, here: bool) -> None:
    """Raises RefusedError for what the chosen GPU, stack or kernel of attention cannot do.

    here: whether this machine makes the video, which has kernels of its own.
    """
    gpu, stack = gpus.find_gpu(chosen_gpu(settings)), settings["stack"]
    gpus.check_gpu(gpu, stack, plan)
    size_shift = presets.default_shift(plan.width_px, plan.height_px)
    preset = presets.name_of(presets.denoising_of(settings), size_shift)
    gpus.check_tier(settings["tier"], gpu, stack, preset)
    if not here:
        gpus.check_attention(settings["attention"], gpu, stack)


def estimate_plan(settings: Settings, plan: Plan, known: Experience | None = None) -> Estimate:
    """Time and price of a plan as the settings ask for it.

    known: what this account's own videos took, if it was read before.
    """
    known = experience(settings) if known is None else known
    return cost.estimate_cost(
        plan, rates.load(), priced_gpu(settings), chosen_setup(settings), known
    )
