"""The plan of a video, without making it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.errors import FileError
from multitalk_cli.files import is_content_of, write_atomically
from multitalk_cli.generation import output_path
from multitalk_cli.generation.backends.select import choose_backend
from multitalk_cli.generation.job import (
    SINGLE_WINDOW,
    check_gpu,
    chosen_setup,
    estimate_plan,
    experience,
)
from multitalk_cli.generation.prepared_inputs import (
    LocalInputs,
    PreparedInputs,
    prepare_in_cloud,
)
from multitalk_cli.generation.report import report_inputs
from multitalk_cli.generation.result import VideoPlan
from multitalk_cli.generation.spec import GenerateArgs, build_spec
from multitalk_cli.generation.store import choose_upload, require_store
from multitalk_cli.planning import cost, rates
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

_HERE = ("local", "preview")
"""Backends of this machine, which has kernels of its own."""


def make_plan(args: GenerateArgs, settings: Settings, reporter: Reporter) -> VideoPlan:
    """Plans a video.

    Inputs that are files need no backend and no network. Raises what is wrong with the inputs, and
    RefusedError for a GPU that cannot run it, or E_COST for a price above `max_cost`.
    """
    spec = build_spec(args, settings)
    with closing(read_inputs(args, settings, spec, reporter)) as inputs:
        table, summary = rates.load(), inputs.summary
        report_inputs(spec, spec.options.seed, summary, reporter)
        check_gpu(settings, summary.plan, here=settings["backend"] in _HERE)
        asked, known = chosen_setup(settings), experience(settings)
        plan, gpu = summary.plan, settings["gpu"]
        estimates = cost.estimate_all(plan, table, gpu, asked=asked, known=known)
        presets = cost.estimate_presets(
            plan, table, gpu, spec.options.denoising, asked=asked, known=known
        )
        plan, others, first, rest = summary.plan, estimates[1:], None, None
        if args.first and len(plan.windows) > 1:
            first = estimate_plan(settings, plan.first_window)
            rest = estimate_plan(settings, plan.after(1))
            plan, others = plan.first_window, ()
        elif args.first:
            reporter.note(SINGLE_WINDOW)
        if settings["max_cost"] is not None:
            cost.check_cost(
                plan,
                first or estimates[0],
                settings["max_cost"],
                interactive=False,
                others=others,
                presets=() if first else presets,
            )
        return VideoPlan(
            summary=summary,
            options=spec.options,
            estimates=estimates,
            presets=presets,
            rates=table,
            inputs=inputs,
            first=first,
            rest=rest,
        )


def read_inputs(
    args: GenerateArgs, settings: Settings, spec: GenerateSpec, reporter: Reporter
) -> PreparedInputs:
    """The inputs for a plan. Raises what is wrong with them, or with a store that they are in."""
    if not spec.stored:
        return LocalInputs(spec)
    backend = choose_backend(settings, reporter, detach=args.detach, for_plan=True)
    choose_upload(args, settings, spec, backend)
    store = require_store(spec, backend)
    return prepare_in_cloud(spec, store, None, reporter, for_plan=True)


def save_picture(plan: VideoPlan, args: GenerateArgs, reporter: Reporter) -> Path | None:
    """Writes the plan's picture next to the output, or in this folder; returns its path.

    None, after a warning, where it cannot be written: the plan is worth as much without it. A file
    with the same picture is left as it is, any other one only with `force` overwritten.
    """
    is_file = args.output is not None and not is_stored(args.output)
    content = plan.inputs.draw_plan()
    image = Path(plan.summary.picture.text)
    try:
        folder = output_path.plan_folder(args.output if is_file else None)
        picture = output_path.choose_plan_picture(folder, image, content, force=args.force)
        if args.force or not is_content_of(picture, content):
            write_atomically(picture, content, overwrite=args.force)
    except FileError as error:
        reporter.warn(f"the plan's picture was not written: {error.message}")
        return None
    return picture
