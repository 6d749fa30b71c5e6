"""The guard of the price before a video is paid for."""

from types import SimpleNamespace

import pytest

from multitalk_cli.errors import RefusedError
from multitalk_cli.generation.run import check_price
from multitalk_cli.planning import rates
from multitalk_cli.planning.cost import estimate_presets
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.settings import load_settings
from tests.planning.plans import plan_of


class Script:
    """A reporter that nobody answers."""

    can_ask = False

    def fact(self, label, text):
        """Shows nothing."""


def test_the_preset_that_is_proposed_is_within_the_limit_on_each_gpu_that_auto_may_take():
    plan, table, best = plan_of(30, steps=40), rates.load(), PRESETS["best"]
    first, auto = (
        {row.name: row.estimate.price_usd for row in estimate_presets(plan, table, gpu, best)}
        for gpu in ("h100", "auto")
    )
    limit = (first["standard"] + auto["standard"]) / 2
    settings = load_settings({"preset": "best", "max_cost": limit})
    backend = SimpleNamespace(is_paid=True)
    job = SimpleNamespace(plan=plan, settings=settings, backend=backend, first=False)

    with pytest.raises(RefusedError) as refusal:
        check_price(job, Script())

    (preset,) = [each for each in refusal.value.facts["cheaper"] if "--preset" in each]
    assert first["standard"] < limit < auto["standard"]
    assert auto[preset.split()[1]] <= limit
