"""Finished videos on their way: whole or not at all, and only what is missing is fetched."""

import hashlib
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from multitalk_cli import contract
from multitalk_cli.errors import FileError, RemoteError, TemporaryError
from multitalk_cli.jobs import fetch as jobs_fetch
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.planning import gpus
from multitalk_cli.planning.cost import price_of
from tests.storage.clock import FakeClock

PIECES = {"part-0001": b"a" * 1000, "part-0002": b"b" * 1000, "part-0003": b"c" * 10}


class Cloud:
    """A Volume with a finished job; `broken` counts transfers that break off."""

    def __init__(self, broken=0):
        self.broken, self.fetched = broken, []

    def read_file(self, _volume, path):
        name = path.partition("/")[2]
        self.fetched.append(name)
        if name not in PIECES:
            raise FileNotFoundError(path)
        yield PIECES[name][:5]
        if name == "part-0002" and self.broken:
            self.broken -= 1
            raise TemporaryError("gone", code="E_NETWORK")
        yield PIECES[name][5:]


@pytest.fixture
def job():
    texts = {"fingerprint": "f", "target": "", "label": "v", "recipe": "{}"}
    fixed = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "auto", "seed": 0}
    return jobs_ledger.Job(id="abcdabcd", **texts, **fixed)


def answer(video=None, **part):
    """The answer of a finished call."""
    result = contract.Result(
        job_id="abcdabcd", backend="modal", model_output=True, frames=5, fps=24, width_px=32,
        height_px=32, size_bytes=2010, seed=0, recipe="{}", gpu="NVIDIA H100 80GB HBM3",
        gpu_seconds=100.0,
    )  # fmt: skip
    parts = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **part}
        for name, data in PIECES.items()
    ]
    event = contract.to_wire(contract.Done(result=result))
    return {"event": event, "parts": parts, "video": video}


def fetch(cloud, job, target, given=None, overwrite=False):
    ledger = jobs_ledger.Ledger(target.parent / "ledger")
    finished = jobs_fetch.FinishedJob(cloud=cloud, ledger=ledger, job=job, answer=given or answer())
    clock = FakeClock().clock
    return list(jobs_fetch.fetch(finished, target, overwrite=overwrite, clock=clock))


def with_recipe(recipe):
    """An MP4 with nothing but this recipe."""

    def box(name, body):
        return (len(body) + 8).to_bytes(4, "big") + name + body

    data = box(b"data", b"\0\0\0\1" + bytes(4) + json.dumps(recipe).encode())
    meta = box(b"meta", bytes(4) + box(b"ilst", box(b"\xa9cmt", data)))
    return box(b"moov", box(b"udta", meta))


def test_parts_become_one_file(tmp_path, job):
    *progress, done = fetch(Cloud(), job, tmp_path / "v.mp4")

    assert (tmp_path / "v.mp4").read_bytes() == b"".join(PIECES.values())
    assert [(event.done, event.total) for event in progress] == [
        (1000, 2010), (2000, 2010), (2010, 2010),
    ]  # fmt: skip
    assert done.result.gpu == "h100"
    assert done.result.price_usd == pytest.approx(price_of("h100", done.result.gpu_seconds))


def test_a_broken_part_is_fetched_again_and_no_other(tmp_path, job):
    cloud = Cloud(broken=2)

    fetch(cloud, job, tmp_path / "v.mp4")

    assert cloud.fetched == ["part-0001", "part-0002", "part-0002", "part-0002", "part-0003"]


def test_a_later_command_fetches_the_rest(tmp_path, job):
    first, second = Cloud(broken=99), Cloud()
    with pytest.raises(TemporaryError):
        fetch(first, job, tmp_path / "v.mp4")
    assert not (tmp_path / "v.mp4").exists()

    fetch(second, job, tmp_path / "v.mp4")

    assert second.fetched == ["part-0002", "part-0003"]


def test_a_part_with_another_sum_is_never_used(tmp_path, job):
    with pytest.raises(TemporaryError, match="the checksum of part-0001 of job abcdabcd is wrong"):
        fetch(Cloud(), job, tmp_path / "v.mp4", answer(sha256="0" * 64))
    assert list(tmp_path.glob("v*")) == []


def test_a_part_that_is_gone_is_expired(tmp_path, job):
    given = answer()
    given["parts"][0]["name"] = "part-0009"

    with pytest.raises(RemoteError) as caught:
        fetch(Cloud(), job, tmp_path / "v.mp4", given)
    assert caught.value.code == "E_EXPIRED"


def test_a_part_s_name_cannot_lead_elsewhere(tmp_path, job):
    with pytest.raises(contract.ContractError, match="not the name of a part"):
        fetch(Cloud(), job, tmp_path / "v.mp4", answer(name="../../v"))


def test_a_small_video_came_with_the_answer(tmp_path, job):
    cloud = Cloud()

    fetch(cloud, job, tmp_path / "v.mp4", answer(video=b"whole"))

    assert ((tmp_path / "v.mp4").read_bytes(), cloud.fetched) == (b"whole", [])


def test_nothing_is_overwritten_unasked(tmp_path, job):
    (tmp_path / "v.mp4").write_bytes(b"mine")

    with pytest.raises(FileError) as caught:
        fetch(Cloud(), job, tmp_path / "v.mp4")
    assert (tmp_path / "v.mp4").read_bytes() == b"mine"
    assert (caught.value.code, caught.value.facts) == ("E_OUTPUT_EXISTS", {"job": job.id})


def test_a_folder_that_was_removed_meanwhile_is_named_with_the_job(tmp_path, job):
    with pytest.raises(FileError) as caught:
        fetch(Cloud(), job, tmp_path / "gone" / "v.mp4")
    assert (caught.value.code, caught.value.facts) == ("E_OUTPUT_PATH", {"job": job.id})


@pytest.mark.parametrize(("seed", "is_error"), [(7, False), (8, True)])
def test_the_job_s_own_video_may_appear_while_it_is_fetched(tmp_path, job, seed, is_error):
    class OtherCommand(Cloud):
        def read_file(self, volume, path):
            (tmp_path / "v.mp4").write_bytes(with_recipe({"seed": seed}))
            yield from super().read_file(volume, path)

    own = replace(job, recipe='{"seed": 7}')
    with pytest.raises(FileError) if is_error else nullcontext():
        assert fetch(OtherCommand(), own, tmp_path / "v.mp4")[-1].kind == "done"
    assert (tmp_path / "v.mp4").read_bytes() == with_recipe({"seed": seed})


def test_the_kept_answer_is_read_from_the_volume(monkeypatch, job):
    text = json.dumps({"event": {}, "parts": []}).encode()
    monkeypatch.setitem(PIECES, contract.RESULT_FILE, text)

    assert jobs_fetch.load_result(Cloud(), job) == {"event": {}, "parts": [], "video": None}
    monkeypatch.delitem(PIECES, contract.RESULT_FILE)
    assert jobs_fetch.load_result(Cloud(), job) is None


@pytest.mark.parametrize(
    ("state", "first", "is_found"),
    [("first", "made", True), ("running", "asked", True), ("running", "made", False)],
)
def test_a_first_window_is_the_answer_until_the_rest_is_made(
    monkeypatch, job, state, first, is_found
):
    kept = json.dumps({"event": {}, "parts": [1]}).encode()
    monkeypatch.setitem(PIECES, contract.FIRST_FILE, kept)
    looked_at = replace(job, state=state, first=first)

    assert (jobs_fetch.load_result(Cloud(), looked_at) is not None) == is_found
    monkeypatch.setitem(PIECES, contract.RESULT_FILE, b'{"event": {}, "parts": []}')
    assert jobs_fetch.load_result(Cloud(), looked_at)["parts"] == []


@pytest.mark.parametrize(
    ("device", "asked", "gpu"),
    [
        ("NVIDIA H100 80GB HBM3", "auto", "h100"),
        ("NVIDIA H200", "auto", "h200"),
        ("NVIDIA A100-SXM4-40GB", "h100", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "h100", "a100-80gb"),
        ("NVIDIA A10G", "a10", "a10g"),
        ("NVIDIA L40S", "auto", "l40s"),
        ("Tesla T4", "auto", "t4"),
        ("cpu", "a10", "a10g"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "auto", "rtx-pro-6000"),
        (None, "auto", "h100"),
    ],
)
def test_the_gpu_that_was_used_is_known_by_its_device(device, asked, gpu):
    assert gpus.gpu_from_device(device, asked) == gpu


@pytest.mark.parametrize(
    ("device", "asked", "paid"),
    [
        ("NVIDIA H200", "h100", "h100"),
        ("NVIDIA A100 80GB PCIe", "a100", "a100-40gb"),
        ("NVIDIA H200", "auto", "h200"),
        ("NVIDIA H100 80GB HBM3", "auto", "h100"),
    ],
)
def test_the_gpu_that_was_asked_for_is_the_one_that_is_paid(tmp_path, job, device, asked, paid):
    given = answer()
    given["event"]["result"]["gpu"] = device
    spent_s = given["event"]["result"]["gpu_seconds"]

    *_, done = fetch(Cloud(), replace(job, gpu=asked), tmp_path / "v.mp4", given)

    assert done.result.gpu == gpus.gpu_from_device(device, asked)
    assert done.result.price_usd == pytest.approx(price_of(paid, spent_s))
