"""The table of rates is complete, dated and sourced, and a wrong one is refused."""

import datetime
from importlib import resources

import pytest

from multitalk_cli.planning import rates

TEXT = resources.files("multitalk_cli.planning").joinpath("rates.toml").read_text(encoding="utf-8")
GPUS = {"t4", "l4", "a10g", "l40s", "a100-40gb", "a100-80gb", "h100", "h200", "b200"}
GPUS |= {"rtx-pro-6000"}


def test_every_gpu_has_a_price_a_speed_and_their_sources():
    table = rates.load()

    assert {gpu.name for gpu in table.gpus} == GPUS
    assert all(gpu.price_per_s_usd > 0 and gpu.slowness > 0 for gpu in table.gpus)
    assert all(gpu.speed_source for gpu in table.gpus)
    for part in (table.prices, table.speed, table.speed.fixed, table.start, table.idle):
        assert len(part.source) > 20


def test_prices_are_dated_and_not_from_the_future():
    assert datetime.date(2026, 1, 1) <= rates.load().prices.date <= datetime.date(2026, 11, 30)


def test_only_the_reference_gpu_counts_as_measured():
    table = rates.load()

    assert [gpu.name for gpu in table.gpus if gpu.measured] == [table.speed.reference_gpu]
    assert table.gpu("h100").slowness == 1


def test_other_gpus_are_scaled_by_their_published_rate():
    table = rates.load()

    assert table.gpu("a100-80gb").slowness == pytest.approx(989 / 312)
    assert table.gpu("b200").slowness == pytest.approx(989 / 2250)
    assert table.gpu("h200").slowness == pytest.approx(2.212 / 2.25, abs=1e-3)


def test_cores_and_memory_add_about_a_sixteenth_to_an_h100():
    table = rates.load()
    h100 = table.gpu("h100")

    assert table.price_per_s_usd(h100) / h100.price_per_s_usd == pytest.approx(1.064, abs=1e-3)


def test_the_table_is_read_once():
    assert rates.load() is rates.load()


def test_an_unknown_gpu_is_a_key_error():
    with pytest.raises(KeyError, match="gtx"):
        rates.load().gpu("gtx")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("version = 2", "version = 1", "version must be 2"),
        ("version = 2", "version = 2\nspare = 3", "rates has unknown fields: spare"),
        ("core_per_s_usd = 0.0000131\n", "", "prices lacks: core_per_s_usd"),
        ("core_per_s_usd = 0.0000131", "core_per_s_usd = -1", "prices.core_per_s_usd"),
        ("core_per_s_usd = 0.0000131", "core_per_s_usd = nan", "prices.core_per_s_usd"),
        ("core_per_s_usd = 0.0000131", 'core_per_s_usd = "1"', "must be a number"),
        ("per_token_s = 3.723e-5", "per_token_s = 0", "speed.current.per_token_s"),
        ("vae_s = 1.43", "vae_ms = 1780", "speed.current.fixed has unknown fields: vae_ms"),
        ('reference_gpu = "h100"', 'reference_gpu = "h900"', "is no gpu of the table"),
        ('reference_gpu = "h100"', 'reference_gpu = "h200"', "gpu.h200 lacks: bf16_tflops"),
        ("[speed.current]", "[speed.other]", "speed.other.fixed lacks"),
        ("[tier.near]", "[tier.half]", "tier has unknown fields: half"),
        ("factor = 0.837", "factor = 0", "tier.near.factor must be above 0"),
        ('name = "b200"', 'name = "h100"', "h100 is in the table twice"),
        ("bf16_tflops = 2250\n", "", "gpu.b200 needs either"),
        ("relative_speed = 1.017", "relative_speed = 1\nbf16_tflops = 2", "gpu.h200 needs either"),
        ("bf16_tflops = 2250", "bf16_tflops = 0", "gpu.b200.bf16_tflops"),
        ('speed_source = "published dense bf16 rate"', 'speed_source = " "', "must not be empty"),
    ],
)
def test_a_wrong_table_is_refused_by_name(old, new, named):
    assert old in TEXT

    with pytest.raises(rates.RatesError, match=named):
        rates.parse(TEXT.replace(old, new, 1))


def test_a_stack_that_was_not_measured_has_the_speed_of_the_current_one():
    table = rates.load()

    assert set(table.speeds) == {"current"}
    assert table.speed_of("cuda12.1") is table.speed_of("current") is table.speed
    assert table.speed.attention == "fa3"


def with_older_stack(**changes):
    """The table with a speed of the older stack, as the current one's but for these changes."""
    start = TEXT.index("[speed.current]")
    own = TEXT[start : TEXT.index("# A forward in another tier", start)]
    own = own.replace("[speed.current", '[speed."cuda12.1"')
    for old, new in changes.values():
        assert old in own
        own = own.replace(old, new)
    return TEXT.replace("# A cold container", f"{own}\n# A cold container")


def test_a_stack_that_was_measured_has_a_speed_of_its_own():
    slower = with_older_stack(speed=("per_token_s = 3.723e-5", "per_token_s = 8e-5"))

    table = rates.parse(slower)

    assert table.speed_of("cuda12.1").per_token_s == 8e-5
    assert table.speed_of("current").per_token_s == 3.723e-5


def test_all_stacks_are_scaled_from_one_gpu():
    other = with_older_stack(gpu=('reference_gpu = "h100"', 'reference_gpu = "b200"'))

    with pytest.raises(rates.RatesError, match="is not of h100"):
        rates.parse(other)
