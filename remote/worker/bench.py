"""The benchmark in a container, with the networks that it makes videos with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch

from multitalk_cli import contract
from multitalk_cli.contract.bench_task import WINDOWS, BenchTask
from remote.bench.measure import make_request, measure
from remote.bench.options import BenchOptions, Report
from remote.bench.report import table
from remote.service.run import Model
from remote.worker.failures import as_answer, read_wire
from remote.worker.quality import measure_quality
from remote.worker.reporter import Reporter, States


@as_answer()
def bench(model: Model, wire: Mapping[str, Any], states: States) -> dict[str, Any]:
    """The report and its table, line by line, which a report of the tiers' errors has not.

    wire: a BenchTask. Weights that are loaded already are timed as they are.
    """
    task = read_wire(BenchTask, wire)
    with Reporter(states, task.job_id, {}) as reporter:
        if task.quality:
            return {"report": _plain(measure_quality(model, task, reporter)), "lines": []}
        report = _measure(model, task, reporter)
    return {"report": _plain(report), "lines": table(report).split("\n")}


def _plain(report: Report) -> Report:
    """Through JSON: plain numbers, texts and lists are all that may cross."""
    return cast(Report, json.loads(json.dumps(report)))


def _measure(model: Model, task: BenchTask, reporter: Reporter) -> Report:
    for event in model.load(None, task.persistent_params):
        reporter.show(event)
    dit, config = model.engine.networks.dit, model.engine.networks.config
    options = BenchOptions(
        width_px=task.width_px,
        height_px=task.height_px,
        frames=contract.DEFAULT_WINDOW_FRAMES,
        motion_frames=contract.DEFAULT_MOTION_FRAMES,
        fps=contract.DEFAULT_FPS,
        measured_steps=task.steps,
        persons=task.persons,
        device=model.engine.device.type,
        float16=dit.dtype == torch.float16,
    )
    # A larger size may leave room for fewer blocks.
    largest = make_request(options, max(task.persons), WINDOWS, config)
    largest = replace(largest, attention=task.attention)
    for event in model.load(largest, task.persistent_params):
        reporter.show(event)
    return measure(
        config,
        options,
        loaded=model.engine,
        on_part=lambda part: reporter.show(contract.Stage(name=part)),
    )
