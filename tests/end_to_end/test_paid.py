"""Videos paid for by an earlier version stay paid: recorded jobs and this version's commands."""

import contextlib
import functools
import io
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import boto3
import modal
import pytest
from modal_proto import api_pb2 as pb

from multitalk_cli import contract
from multitalk_cli.cli.app import run
from multitalk_cli.generation import job as generation_job
from multitalk_cli.generation.backends.base import Backend, StartedRun
from multitalk_cli.generation.reuse import is_already_made
from multitalk_cli.jobs.ledger import DONE, Job, Ledger
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.planning.fingerprint import fingerprints
from remote.service import resume
from remote.weights.manifest import load_manifest
from tests.end_to_end import paid
from tests.end_to_end.product import CLASS, User, gpu_calls, upload_pack
from tests.storage.stores import KEY_ID, SECRET

JOBS = paid.read_json("jobs.json")
RUNNING = JOBS["running"]
FINISHED = {name: job for name, job in JOBS.items() if job is not RUNNING}
REGION, PICTURE_KEY = "eu-west-3", "in/host.png"


def video_of(name):
    """The recorded video of a finished job."""
    return paid.FOLDER / "videos" / f"{name}.mp4"


# Without the cloud: the names by which finished work is known


@dataclass(frozen=True)
class Asked:
    """What a command asks a backend for. fingerprints: of the request as it was encoded here."""

    request: contract.GenerateRequest
    recipe: dict
    fingerprints: tuple[str, ...]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """What a job's command asks the cloud for today: `ask("drawn")` gives an Asked."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(paid.FOLDER / "inputs", folder, dirs_exist_ok=True)

    @functools.cache
    def call(name):
        seen = []

        def note(task):
            seen.append(task)
            ended = contract.Failed(code="E_CANCELLED", message="only asked")
            return StartedRun(job_id=task.job_id, events=(event for event in [ended]))

        backend = Backend(name="modal", model_output=True, is_paid=True, start=note)
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
            patch.setattr(generation_job, "choose_backend", lambda *_given, **_more: backend)
            run(["generate", *local_words(JOBS[name]["words"]), "-o", "asked.mp4"])
        (task,) = seen
        return Asked(task.request, json.loads(task.recipe), task.fingerprints)

    return call


def local_words(words):
    """The words without the store and without an output: neither decides what is made."""
    kept, rest = [], iter(words)
    for word in rest:
        if word == "-o":
            next(rest)
        elif word != "--upload":
            kept.append(word.removeprefix(f"s3://{paid.BUCKET}/in/"))
    return kept


def as_encoded(made, recorded):
    """A request with the recorded bytes, where its own hold the same picture and sounds."""
    pairs = zip(paid.encodings(made), paid.encodings(recorded), strict=True)
    assert all(paid.is_alike(one, other) for one, other in pairs)
    speakers = zip(made.speakers, recorded.speakers, strict=True)
    return replace(
        made,
        image=recorded.image,
        sound=recorded.sound,
        speakers=tuple(replace(mine, audio=theirs.audio) for mine, theirs in speakers),
    )


@pytest.mark.parametrize("name", JOBS)
def test_a_command_has_the_fingerprint_that_it_had(ask, name):
    job, asked = JOBS[name], ask(name)

    made = as_encoded(asked.request, paid.recorded_request(job))

    # Version 0.1.0 knew one name: that of the encoded bytes.
    assert fingerprints(made)[1] == paid.recorded_fingerprint(job)
    assert asked.fingerprints == fingerprints(asked.request)


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_video_is_what_its_command_asks_for(ask, name):
    video, recipe = video_of(name), ask(name).recipe

    assert is_already_made(video, recipe, read_recipe(video), force=False)


def test_a_video_that_was_made_in_other_windows_is_known(ask, tmp_path):
    asked, recorded = ask("running"), paid.recorded_request(RUNNING)
    assert len(asked.request.windows) == 1 < len(recorded.windows)
    video, ledger = tmp_path / RUNNING["output"], Ledger(tmp_path / "jobs.sqlite3")
    video.touch()
    texts = {"stack": "current", "gpu": "auto", "target": "", "label": "", "recipe": "{}"}
    place = {"app": "multitalk", "environment": "", "seed": 10}
    names = fingerprints(as_encoded(asked.request, recorded))
    job = Job(id=RUNNING["job"], fingerprint=paid.recorded_fingerprint(RUNNING), **place, **texts)

    ledger.start(replace(job, state=DONE))

    assert ledger.find_completed(names).id == RUNNING["job"]
    assert ledger.start(replace(job, id="anotherjob", fingerprint=names[0]), names)[1] is False
    assert is_already_made(video, asked.recipe, json.loads(recorded.recipe), force=False)


def test_finished_windows_are_known_by_the_name_that_they_had():
    record = json.loads((paid.FOLDER / "volume" / RUNNING["job"] / resume.RECORD).read_bytes())

    _, name = resume.fingerprints(paid.recorded_request(RUNNING), recorded_revision())

    assert name == record["fingerprint"]


def recorded_revision():
    """Of the weights that made everything."""
    return read_recipe(video_of("drawn"))["weights"]


# With the cloud: the installed command


@pytest.fixture(scope="module")
def s3(moto_url):
    """The store as the jobs left it, the picture in it."""
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=moto_url, region_name=REGION, **keys)
    place = {"LocationConstraint": REGION}
    client.create_bucket(Bucket=paid.BUCKET, CreateBucketConfiguration=place)
    put = functools.partial(client.put_object, Bucket=paid.BUCKET)
    put(Key=PICTURE_KEY, Body=(paid.FOLDER / "inputs" / "host.png").read_bytes())
    for name, job in FINISHED.items():
        if job["key"]:
            put(Key=job["key"], Body=video_of(name).read_bytes(), Metadata=job["metadata"])
    yield client
    client.close()


@pytest.fixture(scope="module")
def user(cloud, site, tiny_pack, s3, ask, moto_url, tmp_path_factory):
    """Who paid for it all, after an upgrade and a deploy; the running job is in its queue."""
    user = User(cloud, site, tmp_path_factory.mktemp("payer"))
    shutil.copytree(paid.FOLDER / "inputs", user.folder, dirs_exist_ok=True)
    for name, job in FINISHED.items():
        if not job["output"].startswith("s3://"):
            shutil.copy(video_of(name), user.folder / job["output"])
    put_ledger(user, ask)
    put_secret(moto_url)
    assert s3
    assert user.run("deploy").code == 0
    upload_pack(tiny_pack)
    put_shared()
    put_volume(tiny_pack)
    queue_call(cloud)
    return user


def put_ledger(user, ask):
    """Puts the ledger where this user's is."""
    target = user.home / ".local" / "state" / "multitalk" / "jobs.sqlite3"
    target.parent.mkdir(parents=True)
    shutil.copy(paid.FOLDER / "jobs.sqlite3", target)
    with contextlib.closing(sqlite3.connect(target)) as db, db:
        places = (paid.WORKING_FOLDER, str(user.folder))
        db.execute("UPDATE jobs SET target = replace(target, ?, ?)", places)
        for name, job in JOBS.items():
            # Other libraries encode the same picture and sounds in other bytes.
            here = ask(name)
            if paid.encodings(here.request) != paid.encodings(paid.recorded_request(job)):
                row = (here.fingerprints[1], job["job"])
                db.execute("UPDATE jobs SET fingerprint = ? WHERE id = ?", row)


def put_secret(store_url):
    values = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_BUCKET_NAME": paid.BUCKET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": store_url,
    }
    modal.Secret.objects.create(contract.AWS_SECRET, values)


def put_shared():
    """Fills the Dicts that clients and containers share."""
    for name, entries in paid.read_json("shared.json").items():
        modal.Dict.from_name(name, create_if_missing=True).update(entries)


def put_volume(pack):
    """Fills the jobs' Volume; the weights are this machine's tiny ones, whatever they were."""
    revision = load_manifest(pack).revision
    wanted = paid.recorded_request(RUNNING)
    record = json.loads((paid.FOLDER / "volume" / RUNNING["job"] / resume.RECORD).read_bytes())
    _, record["fingerprint"] = resume.fingerprints(wanted, revision)
    texts = {"inputs.json": paid.inputs_json(RUNNING["request"]), resume.RECORD: json.dumps(record)}
    volume = modal.Volume.from_name(contract.JOBS_VOLUME, create_if_missing=True)
    with volume.batch_upload(force=True) as batch:
        batch.put_directory(str(paid.FOLDER / "volume"), "/")
    # One batch may not hold a path twice.
    with volume.batch_upload(force=True) as batch:
        for name, text in texts.items():
            batch.put_file(io.BytesIO(text.encode()), f"/{RUNNING['job']}/{name}")


def queue_call(cloud):
    """Queues the running job's call, as it was made."""
    message = pb.FunctionInput.FromString((paid.FOLDER / "call.bin").read_bytes())
    cloud.queue(contract.APP_NAME, CLASS, RUNNING["call"], message)


@pytest.fixture(scope="module")
def elsewhere(cloud, user, tmp_path_factory):
    """The same account on another machine, with an empty state folder."""
    return User(cloud, user.site, tmp_path_factory.mktemp("elsewhere"))


def printed(user, place):
    """The line that names a video: its path or its address."""
    return f"{place if place.startswith('s3://') else user.folder / place}\n"


@pytest.fixture(scope="module")
def reruns(cloud, user):
    """How the commands of all finished jobs end, and how many calls of a GPU they made."""
    cloud.rpcs.clear()
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda job: user.run("generate", *job["words"]), FINISHED.values())
        ran = dict(zip(FINISHED, runs, strict=True))
    return ran, gpu_calls(cloud, cloud.rpcs)


@pytest.mark.parametrize("name", FINISHED)
def test_what_was_made_is_not_made_again(user, reruns, name):
    ran, paid_calls = reruns[0][name], reruns[1]

    assert (ran.code, ran.stdout) == (0, printed(user, FINISHED[name]["output"])), ran.stderr
    assert "is already" in ran.stderr
    assert paid_calls == 0


def test_what_was_uploaded_is_not_stored_under_another_name(s3, reruns):
    assert reruns
    keys = sorted(row["Key"] for row in s3.list_objects_v2(Bucket=paid.BUCKET)["Contents"])

    assert keys == sorted([PICTURE_KEY, *(job["key"] for job in FINISHED.values() if job["key"])])


def test_a_deleted_video_comes_from_the_cloud(cloud, user, reruns, rpcs):
    assert reruns
    video = user.folder / FINISHED["drawn"]["output"]
    video.unlink()

    ran = user.run("generate", *FINISHED["drawn"]["words"])

    assert (ran.code, ran.stdout) == (0, f"{video}\n"), ran.stderr
    assert "nothing is paid" in ran.stderr
    assert f"seed {read_recipe(video)['seed']}\n" in ran.stderr
    assert "price" not in ran.stderr
    assert video.read_bytes() == video_of("drawn").read_bytes()
    assert gpu_calls(cloud, rpcs) == 0


def test_a_finished_job_is_fetched_without_its_ledger(elsewhere):
    ran = elsewhere.run("jobs", "fetch", FINISHED["drawn"]["job"], "-o", "fetched.mp4")

    assert ran.code == 0, ran.stderr
    assert (elsewhere.folder / "fetched.mp4").read_bytes() == video_of("drawn").read_bytes()


def test_a_video_that_was_only_stored_is_attached_to_and_fetched(user):
    job = FINISHED["stored"]

    attached = user.run("jobs", "attach", job["job"])
    fetched = user.run("jobs", "fetch", job["job"][:6], "-o", "fetched.mp4")

    assert (attached.code, attached.stdout) == (0, f"{job['output']}\n"), attached.stderr
    assert fetched.code == 0, fetched.stderr
    assert (user.folder / "fetched.mp4").read_bytes() == video_of("stored").read_bytes()


def test_the_ledger_is_read(user):
    listed = user.run("jobs", "ls", "--json").data["jobs"]

    states = [row["state"] for row in listed if row["id"] != RUNNING["job"]]
    assert sorted(states) == ["cancelled", *["done"] * len(FINISHED), "failed", "stopped"]
    assert all(row["price_usd"] > 0 for row in listed if row["state"] == "done")


@pytest.mark.parametrize("state", ["cancelled", "lost"])
def test_a_job_that_made_nothing_is_shown(user, state):
    job = paid.job_in_state(state)

    shown = user.run("jobs", "show", job, "--json")

    assert shown.code == 0, shown.stderr
    names = {"cancelled": "cancelled", "lost": "stopped"}
    assert (shown.data["job"]["state"], shown.data["job"]["label"]) == (names[state], state)


def test_a_running_job_goes_on_after_its_finished_window(cloud, user, rpcs):
    ran = user.run("generate", *RUNNING["words"], "--json")

    video = user.folder / RUNNING["output"]
    assert (ran.code, ran.data["output"], ran.data["job"]) == (0, str(video), RUNNING["job"])
    assert any("after window 1 of 2" in note for note in ran.data["adjusted"])
    assert probe_video(video).frames == RUNNING["request"]["frames"]
    assert gpu_calls(cloud, rpcs) == 0


def test_a_running_job_is_attached_to_from_another_machine(cloud, elsewhere, rpcs):
    ran = elsewhere.run("jobs", "attach", RUNNING["job"])

    video = elsewhere.folder / RUNNING["output"]
    assert (ran.code, ran.stdout) == (0, f"{video}\n"), ran.stderr
    assert probe_video(video).frames == RUNNING["request"]["frames"]
    assert gpu_calls(cloud, rpcs) == 0
