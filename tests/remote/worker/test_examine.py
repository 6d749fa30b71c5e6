"""Checks of a container by itself: attention, sound, bucket, and the short video."""

import importlib
import sys
import types
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
import torch

from multitalk_cli import __version__, contract
from remote.engine.kernels import attention
from remote.worker import examine, upload
from remote.worker.cached_model import CachedModel
from tests.remote.requests import open_model, write_tiny_pack
from tests.remote.worker.test_generate import Volume
from tests.storage.stores import use_credentials

pytestmark = pytest.mark.slow

WIRE = {
    "contract": contract.CONTRACT_VERSION,
    "client": __version__,
    "prompt": "A person talks",
    "negative_prompt": "blurred",
}


@pytest.fixture(scope="module")
def pack(golden_dir, tmp_path_factory):
    return write_tiny_pack(golden_dir, tmp_path_factory.mktemp("tiny"))


def examined(model):
    """The answer of a container with this model and an empty Volume."""
    with TemporaryDirectory() as folder:
        return examine.examine(model, WIRE, Path(folder), Volume())


def test_a_container_reports_machine_weights_and_canary(pack):
    answer = examined(CachedModel(lambda: open_model(pack)))

    assert (answer["gpu"], answer["attention"]) == ("cpu", "sdpa")
    assert answer["attention_reason"] == "preferred"
    assert answer["load_bytes"] > 1_000_000
    assert answer["surroundings"]["pinned"] == {"works": None, "reason": "no GPU"}
    assert answer["surroundings"]["memory"]["peak_bytes"] > answer["load_bytes"]
    canary = answer["canary"]
    assert canary["event"]["kind"] == "done"
    assert (canary["size"], canary["steps"]) == ([64, 32], examine.CANARY_STEPS)
    whole_s = examine.USUAL_STEPS * canary["step_s"] + canary["around_s"]
    assert canary["s_per_video_s"] == pytest.approx(whole_s / canary["duration_s"])


def test_a_warm_container_has_loaded_already(pack):
    model = CachedModel(lambda: open_model(pack))
    examined(model)

    assert examined(model)["load_bytes"] == 0


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (ImportError("no kernel"), "E_ATTENTION"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "E_OUT_OF_MEMORY"),
    ],
)
def test_what_keeps_weights_from_the_card_is_said(pack, monkeypatch, broken, code):
    def load(*_arguments):
        raise broken

    if code == "E_ATTENTION":
        monkeypatch.setitem(attention.LOADERS, "sdpa", load)
    else:
        monkeypatch.setattr("remote.weights.model.PackedModel._read", load)

    answer = examined(CachedModel(lambda: open_model(pack)))

    assert answer["event"]["code"] == code


def test_absent_weights_are_said(tmp_path):
    answer = examined(CachedModel(lambda: open_model(tmp_path)))

    assert answer["event"]["code"] == "E_WEIGHTS"


@pytest.mark.parametrize(
    "call",
    [
        examine.check_sound,
        examine.check_storage,
        lambda wire: examine.examine(None, wire, Path(), Volume()),
    ],
)
def test_another_contract_is_refused_as_data(call):
    assert call({"contract": 99, "client": "9"})["event"]["code"] == "E_CONTRACT"


def test_every_attention_runs_or_says_why_not():
    backends = examine.describe_machine()["backends"]

    assert backends.keys() == attention.LOADERS.keys()
    assert backends["sdpa"] == ""
    assert "installed" in backends["fa3"]


# Sound


@pytest.fixture
def no_librosa(monkeypatch):
    """The import fails, whether or not it is installed."""
    monkeypatch.setitem(sys.modules, "librosa", None)


@pytest.mark.usefixtures("no_librosa")
def test_without_librosa_there_is_no_comparison():
    found = examine.check_sound(WIRE)

    assert found["difference"] is None
    assert "librosa" in found["reason"]


@pytest.mark.parametrize(("gain", "is_same"), [(1.0, True), (0.5, False)])
def test_our_sound_is_compared_with_librosa_s(monkeypatch, gain, is_same):
    import soxr

    def resample(samples, *, orig_sr, target_sr):
        return soxr.resample(samples, orig_sr, target_sr)

    def load(path, *, sr, mono):
        samples, rate_hz = soundfile.read(path, dtype="float32")
        assert mono
        return gain * soxr.resample(samples.mean(axis=1), rate_hz, sr).astype(np.float32), sr

    fake = types.SimpleNamespace(load=load, resample=resample, __version__="0")
    monkeypatch.setitem(sys.modules, "librosa", fake)

    assert (examine.check_sound(WIRE)["difference"] < 0.02) is is_same


# librosa imports modules that Python itself will drop.
@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
def test_our_sound_is_librosa_s():
    if importlib.util.find_spec("librosa") is None:
        pytest.skip("librosa is not installed here; it is in both images")

    assert examine.check_sound(WIRE)["difference"] < 0.02


# The bucket


def test_a_bucket_is_written_read_and_cleared(s3_client, s3_bucket, monkeypatch):
    monkeypatch.setenv(upload.BUCKET_VARIABLE, s3_bucket)

    answer = examine.check_storage(WIRE)

    assert answer["bucket"] == s3_bucket
    assert s3_client.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 0


def test_a_bucket_that_is_not_there(s3_client, monkeypatch):
    assert s3_client
    monkeypatch.setenv(upload.BUCKET_VARIABLE, "no-such-bucket")

    assert examine.check_storage(WIRE)["event"]["code"] == "E_S3_BUCKET"


def test_a_secret_without_a_bucket(monkeypatch):
    monkeypatch.delenv(upload.BUCKET_VARIABLE, raising=False)

    assert examine.check_storage(WIRE)["event"]["code"] == "E_SECRET_INCOMPLETE"


def test_a_store_that_refuses_the_keys(weed_url, monkeypatch):
    use_credentials(monkeypatch, weed_url, secret="wrong")
    monkeypatch.setenv(upload.BUCKET_VARIABLE, "doctors")

    answer = examine.check_storage(WIRE)

    assert answer["event"]["code"] in ("E_S3_CREDENTIALS", "E_S3_DENIED")
