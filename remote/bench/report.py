"""The benchmark's report as text."""

from collections.abc import Mapping
from textwrap import shorten

from multitalk_cli.reporting.formatting import human_count
from remote.bench.options import Report

_REASON_CHARACTERS = 90
_VAE_PARTS = {"encode": "encode", "encode_later": "encode, a later window", "decode": "decode"}


def table(report: Report) -> str:
    """The report as lines of text."""
    options = report["options"]
    lines = [
        "{device}, torch {torch}, CUDA {cuda}, triton {triton}".format(**report["machine"]),
        f"{options['width_px']}x{options['height_px']}, {options['frames']} frames, "
        f"{options['steps']} steps, tier {report['tier']}"
        f"{' in float16' if options['float16'] else ''}, "
        f"kernels {report['operations']} {report['operations_refused']}",
        f"attention {report['backend']} ({report['backend_reason']})",
        "matmul {matmul_tflops:.0f} TFLOP/s, copy {copy_gb_per_s:.0f} GB/s".format(
            **report["ceilings"]
        ),
        *(_attention_line(row) for row in report.get("attention", [])),
        *(
            f"{row['blocks']} blocks, {human_count(row['persons'], 'person')}, against float32: "
            f"{row['error']:.2%}"
            for row in report.get("float32", [])
        ),
        *(
            f"VAE {what} {_seconds(report['vae'][part])}"
            for part, what in _VAE_PARTS.items()
            if "vae" in report
        ),
        *(f"{name} encoder {_seconds(row)}" for name, row in report.get("encoders", {}).items()),
        *_memory_lines(report.get("memory")),
        *(f"{name} left out: no memory besides the weights" for name in report.get("left_out", [])),
        f"same request twice: {'identical' if report['is_repeatable'] else 'different'} frames",
    ]
    for row in report["runs"]:
        lines += _run_lines(row)
    lines += [
        f"{row['ms']:10.1f} ms {row['count']:6d}x {row['kernel']}"
        for row in report.get("profile", [])
    ]
    return "\n".join(lines)


def _seconds(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3f} s ({values['least']:.3f} to {values['most']:.3f})"


def _memory_lines(memory: Report | None) -> list[str]:
    if memory is None:
        return []
    return [
        "GPU of {card_gib:g} GiB: {resident} of {layers} blocks resident, {streamed_gb:.1f} GB "
        "streamed a forward, alone {seconds}".format(**memory, seconds=_seconds(memory["copy"]))
    ]


def _attention_line(row: Report) -> str:
    if "refused" in row:
        reason = shorten(row["refused"], _REASON_CHARACTERS, placeholder=" ...")
        return f"  {row['name']:12s} not here: {reason}"
    return f"  {row['name']:12s} {row['tflops']:6.0f} TFLOP/s  {_seconds(row['seconds'])}"


def _run_lines(row: Report) -> list[str]:
    return [
        f"{human_count(row['persons'], 'person')}: {_seconds(row['forward'])} a forward, "
        f"median of {row['forward']['n']}, {row['tflops']:.0f} TFLOP/s, "
        f"{row['share_of_floor']:.0%} of the fastest possible ({row['floor_s']:.2f} s), "
        f"peak {row['peak_gib']:.1f} GiB",
        "  by branch "
        + ", ".join(f"{seconds:.3f}" for seconds in row["by_branch"])
        + f"; later windows {_seconds(row['forward_later'])}; first {row['first_forward']:.2f} s",
        f"  a clip {row['clip_first_s']:.1f} s, a later one {row['clip_later_s']:.1f} s; "
        + ", ".join(f"{_stage(key)} {value:.2f}" for key, value in row["stages"].items()),
        *(_price_line(job) for job in row["prices"]),
    ]


def _stage(key: str) -> str:
    """`encode 1` for encode0: the window is counted from 1."""
    name = key.rstrip("0123456789")
    return key if name == key else f"{name} {int(key.removeprefix(name)) + 1}"


def _price_line(job: Report) -> str:
    start = ", in a new container" if job["is_cold"] else ""
    price = "" if job["usd_per_s"] is None else f" and ${job['usd_per_s']:.4f}"
    return (
        f"  {job['speech_s']:g} s of speech{start}: {job['seconds']:.0f} s; "
        f"a second of video: {job['seconds_per_s']:.1f} s{price}"
    )
