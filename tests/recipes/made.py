"""Videos with recipes: a real preview, and one of two windows as the model would make it."""

import json

from multitalk_cli.cli.app import run
from multitalk_cli.media.audio.tracks import write_sound_track
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.media.video.video import join_segments
from multitalk_cli.recipes.recipe import sha256_of_text
from tests.media.audio.sounds import speech_like, write_wav
from tests.media.video.videos import numbered, write_segment

PREVIEW = ("--backend", "preview", "--size", "256x128", "--seed", "7")
FRAMES, WINDOWS = 50, (30, 20)


def make_preview(*words):
    """A preview of host.png and voice.wav in the current folder."""
    assert run(["generate", "host.png", "voice.wav", *PREVIEW, *words]) == 0


def recipe_of_model(**entries):
    """A recipe as the model's videos have."""
    return {
        "multitalk": 1, "client": "0.1.0", "ai_generated": True, "backend": "modal",
        "model_output": True, "image_sha256": "a" * 64, "voices_sha256": ["b" * 64],
        "speakers": ["face 1"], "order": "sequence", "size": [64, 32], "fps": 24,
        "frames": FRAMES, "windows": [33, 45], "motion_frames": 25, "shift": 7.0, "seed": 5,
        "seed_drawn": True, "prompt_sha256": sha256_of_text("A talk"),
        "negative_prompt_sha256": sha256_of_text("noise"), "fit": "cover", "background": "white",
        "loudness": True, "sample_steps": 20, "text_guidance": 5.0, "audio_guidance": 4.0,
        "audio_track": None, "trim_silence": False, "rotate": "0", "sound_level": None,
        "weights": "abc",
        "gpu": "h100", "engine": {"version": "0.1.0", "stack": "torch 2.11.0"}, "quality": None,
        **entries,
    }  # fmt: skip


def model_video(folder, **entries):
    """A video of two windows and sound with the recipe of a model's."""
    folder.mkdir(exist_ok=True)
    starts = (0, WINDOWS[0])
    segments = [
        write_segment(folder / f"{start}.mp4", numbered(count, start=start))
        for start, count in zip(starts, WINDOWS, strict=True)
    ]
    wav = write_wav(folder / "sound.wav", speech_like(FRAMES / 24, 16_000), 16_000)
    write_sound_track([load_voice(wav)], "sequence", folder / "sound.flac", FRAMES, 24)
    target = folder / "talk.mp4"
    recipe = json.dumps(recipe_of_model(**entries))
    join_segments(segments, folder / "sound.flac", target, frames=FRAMES, fps=24, recipe=recipe)
    return target


def copied(video, target, *options, start_s=0.0):
    """A copy of a video by ffmpeg with these options. start_s: what is skipped before reading."""
    ffmpeg.run(["-ss", str(start_s), "-i", str(video), *options, "-y", str(target)])
    return target


def with_recipe(video, target, recipe):
    """A copy of a video whose recipe is this text."""
    metadata = target.with_name("metadata.txt")
    text = recipe if isinstance(recipe, str) else json.dumps(recipe)
    for character in "\\=;#\n":
        text = text.replace(character, f"\\{character}")
    metadata.write_text(f";FFMETADATA1\ncomment={text}\n", encoding="utf-8")
    read = ["-f", "ffmetadata", "-i", str(metadata), "-map_metadata", "1"]
    ffmpeg.run(["-i", str(video), *read, "-c", "copy", "-bitexact", "-y", str(target)])
    return target


def kept_recipe(video):
    """The recipe in a video, as it is."""
    return read_recipe(video)
