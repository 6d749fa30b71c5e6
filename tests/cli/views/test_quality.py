"""The errors of tiers as lines: percentages, and multiples of what two exact kernels differ by."""

from multitalk_cli.cli.layout import Row, Table
from multitalk_cli.cli.views import quality as view
from multitalk_cli.contract.bench_task import QUANTITIES


def row(tier, error, multiple, **changes):
    def every(value):
        return {what: [value, value, value] for what in QUANTITIES}

    values = {
        "tier": tier, "persons": 1, "forward_s": 2.5, "of_exact": 0.86, "errors": every(error),
    }  # fmt: skip
    if multiple != "floor":
        values["of_floor"] = None if multiple is None else every(multiple)
    return values | changes


def report(*rows, **changes):
    values = {
        "machine": {"device": "NVIDIA H100 80GB HBM3", "torch": "2.11.0"},
        "options": {"width_px": 896, "height_px": 448, "frames": 77, "persons": [1]},
        "times": [950.0, 700.0, 350.0], "gate_time": 886.3, "type": "bfloat16",
        "kernel": "fa3", "floor_kernel": "sdpa-cudnn", "floor_refused": {}, "rows": rows,
    }  # fmt: skip
    return values | changes


def table_of(blocks):
    (table,) = (block for block in blocks if isinstance(block, Table))
    return table


def texts(blocks):
    return {block.label: block.text for block in blocks if isinstance(block, Row)}


def test_a_tier_has_percentages_and_multiples_of_the_floor():
    exact = row("exact", 0.0, 0.0)
    exact["errors"]["gated 5/4"] = exact["of_floor"]["gated 5/4"] = [0.0, 0.031, 0.05]
    found = report(exact, row("floor", 0.0248, "floor"), row("near", 0.056, 2.258))

    blocks = view.quality_blocks(found)

    table = table_of(blocks)
    assert table.titles == ("1 person ", "error of", "at time 950", "at time 700", "at time 350")
    assert table.rows[0][:4] == ("exact", "gated 5/4", "0.00 %, 0.0x", "3.10 %, 0.0x")
    floor = table.rows[1:5]
    assert [cells[1] for cells in floor] == ["guided 5/4", "guided 1/2", "prompt", "voice"]
    assert floor[0][2] == "2.48 %"
    assert table.rows[5][:3] == ("near", "guided 5/4", "5.60 %, 2.3x")
    assert table.width <= 80
    assert "sdpa-cudnn" in texts(blocks)["floor"]
    assert texts(blocks)["speed"] == "exact 2.500 s a forward, near 0.86 of it"


def test_an_error_of_what_is_zero_in_exact_is_a_dash():
    near = row("near", 0.056, 2.258)
    near["errors"]["dText"] = near["of_floor"]["dText"] = [None, 0.1, 0.1]

    blocks = view.quality_blocks(report(row("exact", 0.0, 0.0), near))

    (cells,) = (cells for cells in table_of(blocks).rows if cells[1] == "prompt")
    assert cells[2:] == ("-", "10.00 %, 0.1x", "10.00 %, 0.1x")


def test_without_a_floor_there_are_percentages_and_the_reason():
    refused = {"tier": "turbo", "refused": "no such kernel"}
    found = report(
        row("exact", 0.0, None), row("near", 0.056, None), refused,
        kernel="sdpa", floor_kernel=None,
    )  # fmt: skip

    blocks = view.quality_blocks(found)

    assert table_of(blocks).rows[1][2] == "5.60 %"
    assert texts(blocks)["floor"].endswith("only the attention sdpa runs here")
    assert texts(blocks)["turbo"] == "not compared: no such kernel"
