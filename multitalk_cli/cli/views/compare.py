"""The result of `multitalk compare` as lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Line, Row, Table
from multitalk_cli.cli.views.recipes import file_data
from multitalk_cli.reporting.formatting import human_bytes, human_count

if TYPE_CHECKING:
    from multitalk_cli.media.video.likeness import Likeness
    from multitalk_cli.recipes.compare import ComparedVideos, MeasuredVideo

_SHORT_DIGEST, _DIGEST = 12, 64


def data(compared: ComparedVideos) -> dict[str, Any]:
    """The JSON of `compare`."""
    likeness = compared.likeness
    return {
        "videos": [_video_data(each) for each in (compared.first, compared.second)],
        "frames_compared": 0 if likeness is None else likeness.frames,
        "same_frames": compared.has_same_frames,
        "same_sound": compared.has_same_sound,
        "psnr_db": None if likeness is None else _rounded(likeness.psnr_db),
        "ssim": None if likeness is None else round(likeness.ssim, 6),
        "least_ssim": None if likeness is None else round(likeness.least_ssim, 6),
        "least_frame": None if likeness is None else likeness.least_frame,
        "scaled": likeness is not None and likeness.is_scaled,
        "differences": [
            {"name": each.name, "values": [_plain(each.first), _plain(each.second)]}
            for each in compared.differences
        ],
    }


def _sound_text(compared: ComparedVideos) -> str:
    first, second = (each.video.info.has_audio for each in (compared.first, compared.second))
    if not (first and second):
        return "none" if not (first or second) else f"only in the {'first' if first else 'second'}"
    return "the same as stored" if compared.has_same_sound else "another, or encoded again"


def _video_data(measured: MeasuredVideo) -> dict[str, Any]:
    video, figures = measured.video, measured.figures
    info = video.info
    return {
        **file_data(video),
        "sound_seconds": _rounded(info.audio_duration_s),
        "motion": _rounded(figures.motion),
        "color_drift": round(figures.color_drift, 3),
        "av_offset_frames": _rounded(figures.av_offset_frames),
        "mouth_correlation": [_rounded(each) for each in figures.mouth_correlation],
        "correlation_floor": [_rounded(each) for each in figures.correlation_floor],
        "has_recipe": video.recipe is not None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def blocks(compared: ComparedVideos) -> list[Block]:
    """A column for each video, then what differs between them."""
    columns = [_column(each) for each in (compared.first, compared.second)]
    names = [each.video.path.name for each in (compared.first, compared.second)]
    rows = [(label, *(column[label] for column in columns)) for label in columns[0]]
    table = Table(rows=rows, titles=("", *names), gives_way=(2, 1))
    shown: list[Block] = [table, Line(""), Row("frames", _describe_likeness(compared))]
    sound = _sound_text(compared)
    shown.append(Row("sound", sound))
    return [*shown, *_difference_blocks(compared, names)]


def _column(measured: MeasuredVideo) -> dict[str, str]:
    info, figures = measured.video.info, measured.figures
    sound = "none" if info.audio_duration_s is None else f"{info.audio_duration_s:.2f} s"
    motion = "unknown" if figures.motion is None else f"{figures.motion:.2f} of 255 a frame"
    return {
        "length": f"{info.duration_s:.2f} s, {human_count(info.frames, 'frame')}",
        "size": f"{info.width}x{info.height}, {human_bytes(measured.video.size_bytes)}",
        "sound": sound,
        "lips": _describe_lips(figures.mouth_correlation, figures.correlation_floor),
        "offset": _describe_offset(figures.av_offset_frames, info.mean_fps),
        "motion": motion,
        "drift": f"{figures.color_drift:.2f} in CIELAB at the end",
    }


def _describe_lips(values: Sequence[float | None], floors: Sequence[float | None]) -> str:
    """`correlation 0.62 of 1 (chance 0.31)` for each face."""
    if not values:
        return "no face"
    texts = []
    for value, floor in zip(values, floors, strict=True):
        chance = "" if floor is None else f" (chance {floor:.2f})"
        is_known = value is not None
        texts.append(f"correlation {value:.2f} of 1{chance}" if is_known else "not measured")
    return ", ".join(texts)


def _describe_offset(frames: float | None, fps: float) -> str:
    """`1.1 frames (44 ms) late`."""
    if frames is None:
        return "not measured"
    if abs(frames) < 0.05:
        return "0.0 frames, 0 ms"
    way = "late" if frames > 0 else "early"
    time = f" ({1000 * abs(frames) / fps:.0f} ms)" if fps else ""
    return f"{abs(frames):.1f} frames{time} {way}"


def _describe_likeness(compared: ComparedVideos) -> str:
    likeness = compared.likeness
    if likeness is None:
        return "none to compare"
    compared_frames = human_count(likeness.frames, "frame")
    if compared.has_same_frames:
        return f"identical, {compared_frames}"
    if likeness.psnr_db is None:
        return f"identical in the first {compared_frames}"
    return (
        f"PSNR {likeness.psnr_db:.1f} dB, SSIM {likeness.ssim:.3f} of 1 over {compared_frames}"
        f"{_describe_rest(likeness)}"
    )


def _describe_rest(likeness: Likeness) -> str:
    text = (
        f"; least alike is frame {likeness.least_frame + 1} (SSIM {likeness.least_ssim:.3f} of 1)"
    )
    return text + ("; the second was scaled to the first" if likeness.is_scaled else "")


def _difference_blocks(compared: ComparedVideos, names: Sequence[str]) -> list[Block]:
    """The entries of the recipes that differ."""
    recipes = [each.video.recipe for each in (compared.first, compared.second)]
    if None in recipes:
        return [Row("recipes", "not compared: not both have one")]
    if not compared.differences:
        return [Row("recipes", "the same inputs, options and seed")]
    rows = [(each.name, _word(each.first), _word(each.second)) for each in compared.differences]
    return [Line(""), Table(rows=rows, titles=("recipe", *names), gives_way=(2, 1))]


def _word(value: Any) -> str:
    """An entry in words; a digest by its beginning."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(_word(each) for each in value)
    if isinstance(value, str) and len(value) == _DIGEST:
        return f"sha256 {value[:_SHORT_DIGEST]}..."
    return f"{value:g}" if isinstance(value, float) else str(value)
