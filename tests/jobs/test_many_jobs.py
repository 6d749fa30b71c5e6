"""Many jobs over a network that fails, with containers and clients that are lost."""

import threading
import weakref

import pytest
from PIL import Image

from multitalk_cli.cloud.client import Cloud
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.storage import retry
from tests.command_line import EXAMPLES
from tests.jobs.simulated import CALM, WINDOWS, Crowd, KilledError, SimulatedCloud, Transport
from tests.media.audio.sounds import speech_like, write_wav

JOBS, SEED = 60, 2


@pytest.fixture
def crowd_of(monkeypatch, tmp_path):
    """Makes a crowd of users of a simulated account; its odds follow from a seed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-simulated")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-simulated")
    monkeypatch.setattr(threading, "excepthook", _unless_killed)
    write_wav(tmp_path / "voice.wav", speech_like(0.2))
    with Image.open(EXAMPLES / "portrait.png") as image:
        image.convert("RGB").resize((64, 64)).save(tmp_path / "host.png")

    def crowd_of(seed):
        transport = Transport(seed)
        cloud = classmethod(lambda _cls, _place: SimulatedCloud(transport))
        monkeypatch.setattr(Cloud, "reachable", cloud)
        monkeypatch.setattr(retry, "time", transport)
        return Crowd(transport, tmp_path)

    return crowd_of


def _unless_killed(args):
    if not issubclass(args.exc_type, KilledError):
        sys_hook(args)


sys_hook = threading.excepthook


def check_all(crowd, count):
    """Every video ended once, and no window was made twice."""
    made = crowd.transport.made
    done = {seed for seed, end in crowd.ends.items() if end == "done"}
    assert (len(crowd.ends), {*crowd.ends.values()}) == (count, {"done", "cancelled"})
    assert max(each.most_at_work for each in made.values()) == 1
    assert {seed: each.videos for seed, each in made.items() if each.videos} == dict.fromkeys(
        done, 1
    )
    for seed in done:
        assert made[seed].windows == dict.fromkeys(range(1, WINDOWS + 1), 1), seed
        assert (crowd.folder / f"{seed}.mp4").is_file()
    jobs = Ledger().newest()
    assert {job.seed for job in jobs if job.state == jobs_ledger.DONE} == done
    assert not [job for job in jobs if job.is_unfinished]


def test_a_client_lets_go_of_jobs_that_have_ended(crowd_of):
    crowd = crowd_of(SEED)
    crowd.transport.odds = CALM
    client = crowd._client()
    handle = crowd._submit(client, 0)
    job_id, seen = handle.id, weakref.ref(handle)
    assert client.job(job_id) is handle
    handle.result()
    handle.wait_until_left(120)
    assert client.jobs() == [handle]

    del handle

    assert seen() is None
    assert client.job(job_id).state == "done"
    assert [each.id for each in client.jobs()] == [job_id]


def test_each_video_ends_once_and_is_paid_once(crowd_of):
    crowd = crowd_of(SEED)
    crowd.make(JOBS)
    check_all(crowd, JOBS)

    spawned = crowd.transport.counts["spawn"]
    crowd.transport.odds, crowd.cancelled = CALM, 0.0
    crowd.make_again()
    check_all(crowd, JOBS)
    assert crowd.transport.counts["spawn"] == spawned
