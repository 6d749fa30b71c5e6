"""A preparation as it crosses between client and container, and where videos are stored."""

from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.generation.output_path import OutputNames, choose_upload
from multitalk_cli.planning import windows
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.planning.remote_task import PrepareResult
from multitalk_cli.planning.summary import PersonFacts, PictureFacts, Summary, VoiceFacts
from multitalk_cli.storage.upload import ObjectStatus, UploadTarget
from remote.worker.prepare import file_name

NAMES = OutputNames(
    image=Path("in/duo.png"), voices=(Path("a.wav"), Path("s3://b/c d.wav")), seed=0, preview=False
)


def upload(**changes):
    fields = {"bucket": "bucket", "key": "", "stem": "voice", "overwrite": False, **changes}
    return UploadTarget(**fields)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "s3://bucket/outputs/voice-abcdabcd.mp4"),
        ({"bucket": ""}, "s3://mine/outputs/voice-abcdabcd.mp4"),
        ({"key": "talks/"}, "s3://bucket/talks/voice-abcdabcd.mp4"),
        ({"key": "talks/a é+.mp4"}, "s3://bucket/talks/a é+.mp4"),
    ],
)
def test_where_a_video_goes(fields, address):
    asked = upload(**fields)

    assert str(asked.address("abcdabcd", "mine")) == address
    assert asked.is_at(address, "abcdabcd")
    assert not asked.is_at(address.replace(".mp4", "2.mp4"), "abcdabcd")
    assert not asked.is_at(None, "abcdabcd")


def test_another_bucket_is_another_place():
    assert not upload(key="a.mp4").is_at("s3://other/a.mp4", "abcdabcd")


@pytest.mark.parametrize(
    ("to", "bucket", "key"),
    [
        (None, "", ""),
        ("s3://talks", "talks", ""),
        ("s3://talks/", "talks", ""),
        ("S3://talks/news/", "talks", "news/"),
        ("s3://talks/{image}/{seed:03}.mp4", "talks", "duo/000.mp4"),
        ("s3://talks/{{odd}}.mp4", "talks", "{odd}.mp4"),
    ],
)
def test_an_address_becomes_a_place(to, bucket, key):
    chosen = choose_upload(to, NAMES, overwrite=True)

    assert chosen == UploadTarget(bucket=bucket, key=key, stem="duo-a-c d", overwrite=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("s3://bucket/in/voice.wav", "voice.wav"),
        ("s3://bucket/a b+c(1).wav", "a b+c(1).wav"),
        ("s3://bucket/\u00e9.wav", "\u00e9.wav"),
        ("s3://bucket/a\nb\x1b.wav", "a_b_.wav"),
        ("s3://bucket/..", "input"),
        ("s3://bucket/.hidden.wav", "hidden.wav"),
        ("../up/voice.wav", "voice.wav"),
    ],
)
def test_names_of_objects_become_safe_names_of_files(text, name):
    assert file_name(text) == name


def test_a_long_key_becomes_a_name_that_every_disk_takes():
    name = file_name("s3://bucket/" + "\U0001d54f" * 500 + ".wav")

    assert name.endswith(".wav")
    assert len(name.encode()) <= 255


def test_what_a_preparation_gave_survives_the_wire():
    summary = Summary(
        picture=PictureFacts(
            text="s3://b/a.png", name="a.png", sha256="0", width_px=9, height_px=8
        ),
        voices=(
            VoiceFacts(
                text="v.wav", name="v.wav", sha256="1", duration_s=1.5, rate_hz=8000, channels=1,
                loudness_lufs=None, start_s=0.0, end_s=1.5,
            ),
        ),
        people=(
            PersonFacts(place="left", voice=0, box=contract.Box(x0=0, y0=0, x1=0.5, y1=1)),
            PersonFacts(place="face 2", voice=None, box=None),
        ),
        crop=(0.0, 0.5, 9.0, 7.5),
        faces=((1.0, 2.0, 3.0, 4.0),),
        plan=windows.make_plan(
            90, 24, size=(896, 448), persons=2, denoising=PRESETS["balanced"]
        ),
        shift=7.0,
        adjusted=("turned",),
        warnings=(),
    )  # fmt: skip
    spot = ObjectStatus(address="s3://b/k.mp4", is_taken=False)
    outcome = PrepareResult(
        summary=summary, recipe="{}", fingerprint="f", notes=(), drawing=b"png", spot=spot
    )

    assert contract.from_wire(PrepareResult, contract.to_wire(outcome)) == outcome
