"""What `--plan` shows: a table, the same as data, and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.output import align
from multitalk_cli.plan import describe_estimates, describe_windows
from multitalk_cli.wording import human_length, human_span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from multitalk_cli.media.plan_picture import Person, Track
    from multitalk_cli.plan import Estimate
    from multitalk_cli.preparation import Prepared
    from multitalk_cli.rates import Rates

LABEL_WIDTH = 12


def lines(
    prepared: Prepared, estimates: Sequence[Estimate], rates: Rates, picture: Path
) -> list[str]:
    """The table for a person."""
    plan = prepared.plan
    shown = [
        _line("windows", "   ".join(describe_windows(plan))),
        _line(
            "frames",
            f"{plan.frames} kept, {plan.generated_frames} generated, {plan.dropped_frames} dropped",
        ),
    ]
    if len(prepared.voices) > 1:
        shown.insert(0, _line("order", _describe_order(prepared)))
    table = align(
        [("", "time", "price", "(exact, a single cold run)"), *describe_estimates(estimates)]
    )
    rated = f"{rates.prices.date.isoformat()}, {rates.prices.source}"
    return [*shown, "", *table, "", _line("rates of", rated), _line("picture", str(picture))]


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{text}"


def _describe_order(prepared: Prepared) -> str:
    tracks = prepared.tracks
    spans = ", ".join(
        f"{voice.path.name} {human_span(start, end)}"
        for voice, start, end in zip(prepared.voices, tracks.starts_s, tracks.ends_s, strict=True)
    )
    lengths = [voice.duration_s for voice in prepared.voices]
    if prepared.order == "sequence":
        other = f"--order together would be {human_length(max(lengths))}"
    else:
        other = f"--order sequence would be {human_length(sum(lengths))}"
    return f"{prepared.order}: {spans}    ({other})"


def data(prepared: Prepared, estimates: Sequence[Estimate], picture: Path) -> dict[str, Any]:
    """The plan for a program."""
    plan, framed, tracks = prepared.plan, prepared.framed, prepared.tracks
    return {
        "plan": {
            "seconds": round(plan.duration_s, 3),
            "frames": plan.frames,
            "generated_frames": plan.generated_frames,
            "dropped_frames": plan.dropped_frames,
            "fps": plan.fps,
            "width": plan.width_px,
            "height": plan.height_px,
            "sample_steps": plan.sample_steps,
            "forwards": plan.forwards,
            "seed": prepared.seed,
            "windows": [{"start": w.start, "frames": w.frames} for w in plan.windows],
        },
        "crop": [round(edge, 1) for edge in framed.crop],
        "faces": [[round(edge, 1) for edge in face.box] for face in framed.faces],
        "speakers": [
            {
                "place": person.place,
                "voice": None if person.voice is None else str(person.voice),
                "box": None
                if person.box is None
                else [person.box.x0, person.box.y0, person.box.x1, person.box.y1],
            }
            for person in prepared.people
        ],
        "order": prepared.order,
        "voices": [
            {"path": str(voice.path), "start_s": round(start, 3), "end_s": round(end, 3)}
            for voice, start, end in zip(
                prepared.voices, tracks.starts_s, tracks.ends_s, strict=True
            )
        ],
        "estimates": [
            {
                "gpu": estimate.gpu,
                "seconds": round(estimate.seconds, 1),
                "price_usd": round(estimate.price_usd, 4),
                "price_run_usd": round(estimate.price_run_usd, 4),
                "price_start_usd": round(estimate.price_start_usd, 4),
                "price_idle_usd": round(estimate.price_idle_usd, 4),
                "measured": estimate.measured,
            }
            for estimate in estimates
        ],
        "adjusted": list(prepared.adjusted),
        "picture": str(picture.absolute()),
    }


def draw(prepared: Prepared, target: Path) -> None:
    """Saves the plan's picture. Raises FileError where it cannot be written."""
    from multitalk_cli.media.plan_picture import PlanPicture, Source, save_plan
    from multitalk_cli.plan import describe_plan

    framed, picture, plan = prepared.framed, prepared.picture, prepared.plan
    crop = framed.from_frame((0.0, 0.0, float(framed.width_px), float(framed.height_px)))
    source = Source(
        pixels=picture.pixels,
        crop=crop,
        size_text=f"{picture.source_width_px}x{picture.source_height_px}",
    )
    save_plan(
        PlanPicture(
            frame=framed.pixels,
            persons=_persons(prepared),
            tracks=_tracks(prepared),
            windows=plan.windows,
            frames=plan.frames,
            fps=plan.fps,
            title=f"Plan: {human_length(plan.duration_s)}",
            facts=(describe_plan(plan),),
            source=source if framed.fit == "cover" else None,
        ),
        target,
    )


def _persons(prepared: Prepared) -> list[Person]:
    """Everybody the model is told of, and the faces that nobody asked about."""
    from multitalk_cli.media.plan_picture import Person

    framed = prepared.framed
    paths = [voice.path for voice in prepared.voices]
    persons = []
    for number, face in enumerate(framed.faces, 1):
        voice = next((one.voice for one in prepared.people if one.face is face), None)
        index = paths.index(voice) if voice is not None else None
        persons.append(Person(number=number, box=face.box, voice=index))
    for one in prepared.people:
        if one.face is None and one.box is not None:
            box = one.box
            width, height = framed.width_px, framed.height_px
            edges = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
            index = paths.index(one.voice) if one.voice is not None else None
            persons.append(Person(number=len(persons) + 1, box=edges, voice=index))
    return persons


def _tracks(prepared: Prepared) -> list[Track]:
    from multitalk_cli.media.level import mouth_openings, voice_levels
    from multitalk_cli.media.plan_picture import Track
    from multitalk_cli.media.tracks import speech_flac

    plan = prepared.plan
    return [
        Track(
            name=voice.path.name,
            levels=mouth_openings(voice_levels(speech_flac(speech), plan.frames, plan.fps)),
        )
        for voice, speech in zip(prepared.voices, prepared.tracks.speech, strict=True)
    ]
