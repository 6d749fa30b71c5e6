"""The report of the inputs before a video is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.planning import describe
from multitalk_cli.planning.presets import find_doubts
from multitalk_cli.reporting.formatting import human_count, human_length

if TYPE_CHECKING:
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.planning.summary import Summary, VoiceFacts
    from multitalk_cli.reporting.reporter import Reporter


def report_inputs(spec: GenerateSpec, seed: int, summary: Summary, reporter: Reporter) -> None:
    """Reports the inputs as read, and the plan made of them."""
    reporter.fact(summary.picture.name, _describe_picture(summary))
    for voice in summary.voices:
        reporter.fact(voice.name, _describe_voice(voice))
    if len(summary.people) > 1:
        reporter.fact("speakers", _describe_people(summary, spec.options.order))
    denoising = spec.options.denoising
    way = describe.describe_denoising(denoising)
    reporter.fact("plan", f"{describe.describe_plan(summary.plan)}, {way}, seed {seed}")
    for note in summary.adjusted:
        reporter.adjusted(note)
    for warning in (*summary.warnings, *find_doubts(denoising)):
        reporter.warn(warning)


def _describe_picture(summary: Summary) -> str:
    picture, visible = summary.picture, len(summary.faces)
    faces = visible + summary.faces_outside
    found = f"{human_count(faces, 'face') if faces else 'no face'} found"
    if summary.faces_outside:
        found += f", {visible if visible else 'none'} in the frame"
    return f"{picture.width_px}x{picture.height_px}, {found}"


def _describe_voice(voice: VoiceFacts) -> str:
    channels = {1: "mono", 2: "stereo"}.get(voice.channels, f"{voice.channels} channels")
    level = "" if voice.loudness_lufs is None else f", {voice.loudness_lufs:.1f} LUFS"
    return f"{human_length(voice.duration_s)}, {voice.rate_hz / 1000:g} kHz {channels}{level}"


def _describe_people(summary: Summary, order: str) -> str:
    people = []
    for person in summary.people:
        voice = "silent" if person.voice is None else summary.voices[person.voice].name
        people.append(f"{person.place}: {voice}")
    spoken = "in sequence" if order == "sequence" else order
    return ", ".join([*people, spoken] if len(summary.voices) > 1 else people)
