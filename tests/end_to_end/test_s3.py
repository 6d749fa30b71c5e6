"""Inputs from S3 and videos to S3: the app's own secret, and a machine without credentials."""

import json

import boto3
import modal
import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from tests.end_to_end.product import CLASS, User, gpu_calls
from tests.modal_plane.front import fronted
from tests.storage.stores import KEY_ID, SECRET

BUCKET, LOCKED = "talking-videos", "locked"
PICTURE, VOICE = f"s3://{BUCKET}/in/host.png", f"s3://{BUCKET}/in/a voice+100%é.wav"
REGION = "eu-west-3"


@pytest.fixture(scope="module")
def front(moto_url):
    """The store's door."""
    with fronted(moto_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def s3(moto_url, deployed):
    """The store itself, with a picture and a voice in a bucket, and a bucket to be locked."""
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=moto_url, region_name=REGION, **keys)
    for name in (BUCKET, LOCKED):
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    voice = deployed.folder / deployed.speech("stored.wav", 0.5)
    for path, address in ((deployed.folder / "host.png", PICTURE), (voice, VOICE)):
        client.upload_file(str(path), BUCKET, address.removeprefix(f"s3://{BUCKET}/"))
    voice.unlink()
    yield client
    client.close()


@pytest.fixture(scope="module")
def user_with_store(front, s3, deployed):
    """A user whose app has the secret."""
    assert s3
    values = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_BUCKET_NAME": BUCKET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": front.url,
    }
    modal.Secret.objects.create(contract.AWS_SECRET, values, allow_existing=True)
    assert not [name for name in deployed.env if name.startswith("AWS_")]
    ran = deployed.run("deploy", "--json")
    assert ran.data["secrets"] == [contract.AWS_SECRET], ran.stderr
    return deployed


def words(voice, *more, picture=PICTURE):
    """The words of a small video."""
    small = ("--size", "32x32", "--steps", "10", "--text-guidance", "1", "--backend", "modal")
    return ("generate", picture, voice, *small, *more)


def keys(s3, prefix="", bucket=BUCKET):
    """The keys that a bucket has."""
    rows = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
    return [row["Key"] for row in rows]


def body(s3, key, bucket=BUCKET):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def kept_files(cloud, name):
    """Files of that name that the jobs' Volume has."""
    return [path for path in cloud.volume(contract.JOBS_VOLUME).files() if path.endswith(name)]


# Without the secret


def test_without_the_secret_the_command_that_sets_it_up_is_named(deployed, s3, rpcs):
    assert s3
    ran = deployed.run(*words(VOICE, "--json"))

    assert (ran.code, ran.error["code"]) == (4, "E_NO_SECRET")
    assert ran.error["hint"].startswith("multitalk setup-secrets --only aws")
    assert rpcs.count("FunctionMap") == 0


def test_a_secret_of_after_the_deploy_needs_another_deploy(deployed, s3, rpcs):
    assert s3
    modal.Secret.objects.create(contract.AWS_SECRET, {"AWS_BUCKET_NAME": BUCKET})

    local = deployed.speech("local.wav", 0.4)
    runs = [
        deployed.run(*words(VOICE, "--json")),
        deployed.run(*words(local, "--upload", "--json", picture="host.png")),
    ]
    modal.Secret.objects.delete(contract.AWS_SECRET)

    assert [(ran.code, ran.error["code"]) for ran in runs] == [(4, "E_NO_SECRET")] * 2
    assert {ran.error["hint"] for ran in runs} == {"multitalk deploy"}
    assert rpcs.count("FunctionMap") == 0


# Inputs


def test_a_picture_and_a_voice_of_the_store_become_a_file(cloud, user_with_store, s3, rpcs):
    before = keys(s3)

    ran = user_with_store.run(*words(VOICE, "--seed", 5))

    video = user_with_store.folder / "a voice+100%é.mp4"
    assert (ran.code, ran.stdout) == (0, f"{video}\n"), ran.stderr
    assert probe_video(video).frames == 12
    assert gpu_calls(cloud, rpcs) == 1
    assert "host.png" in ran.stderr and "1 face" in ran.stderr
    text = json.dumps(read_recipe(video))
    assert not any(word in text for word in (BUCKET, "s3:", "host", "voice+", KEY_ID))
    assert keys(s3) == before
    assert not kept_files(cloud, "inputs.json")


def test_the_same_from_files_is_not_paid_for_again(cloud, user_with_store, s3, rpcs):
    folder = user_with_store.folder
    (folder / "same.wav").write_bytes(body(s3, VOICE.removeprefix(f"s3://{BUCKET}/")))

    ran = user_with_store.run(*words("same.wav", "--seed", 5, picture="host.png"))

    assert ran.code == 0, ran.stderr
    assert "nothing is paid" in ran.stderr
    assert (folder / "same.mp4").read_bytes() == (folder / "a voice+100%é.mp4").read_bytes()
    assert gpu_calls(cloud, rpcs) == 0


@pytest.mark.long
def test_files_and_objects_mix(cloud, user_with_store, rpcs):
    user_with_store.speech("right.wav", 0.4)
    places = ("--speaker", f"box:5%,20%,45%,80%={VOICE}")
    places += ("--speaker", "box:55%,20%,95%,80%=right.wav")

    ran = user_with_store.run(
        "generate", "host.png", *places, "--size", "64x32", "--steps", "10", "--text-guidance",
        "1", "--backend", "modal", "-o", "mixed.mp4", "--json",
    )  # fmt: skip

    assert ran.code == 0, ran.stderr
    assert ran.data["frames"] == probe_video(user_with_store.folder / "mixed.mp4").frames == 22
    assert gpu_calls(cloud, rpcs) == 1
    assert not kept_files(cloud, "inputs.json")
    assert not [path for path in cloud.volume(contract.JOBS_VOLUME).files() if "input-" in path]


def test_a_plan_of_stored_inputs_shows_all_and_keeps_nothing(cloud, user_with_store, rpcs):
    ran = user_with_store.run(*words(VOICE, "--plan", "--json"))

    assert ran.code == 0, ran.stderr
    assert ran.data["plan"]["frames"] == 12
    assert ran.data["voices"][0]["path"] == VOICE
    picture = user_with_store.folder / "host.plan.png"
    assert ran.data["picture"] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert gpu_calls(cloud, rpcs) == 0
    assert not kept_files(cloud, "inputs.json")


@pytest.mark.parametrize(
    ("voice", "code", "exit_code"),
    [
        (f"s3://{BUCKET}/in/absent.wav", "E_S3_KEY", 6),
        ("s3://no-such-bucket/voice.wav", "E_S3_BUCKET", 6),
        (f"s3://{LOCKED}/voice.wav", "E_S3_DENIED", 6),
        (PICTURE.replace("host", "second"), "E_AUDIO_FORMAT", 3),
    ],
)
def test_what_is_wrong_with_an_object_is_said_before_a_card_is_paid_for(
    cloud, user_with_store, s3, front, rpcs, voice, code, exit_code
):
    s3.put_object(Bucket=BUCKET, Key="in/second.png", Body=b"\x89PNG\r\n\x1a\nand no more")
    front.refused = {(method, f"/{LOCKED}") for method in ("GET", "HEAD")}

    ran = user_with_store.run(*words(voice, "--json"))
    front.refused = set()

    assert (ran.code, ran.error["code"]) == (exit_code, code), ran.error
    assert "/tmp" not in ran.error["message"]
    assert voice in ran.error["message"] or code == "E_S3_BUCKET"
    assert gpu_calls(cloud, rpcs) == 0


def test_what_the_guard_refuses_leaves_nothing_in_the_cloud(cloud, user_with_store, rpcs):
    ran = user_with_store.run(*words(VOICE, "-o", "guarded.mp4", "--max-cost", "0.0001", "--json"))

    assert (ran.code, ran.error["code"]) == (8, "E_COST")
    assert gpu_calls(cloud, rpcs) == 0
    assert not kept_files(cloud, "inputs.json")


# Videos


def test_an_output_in_the_store_is_there_alone(cloud, user_with_store, s3, rpcs):
    address = f"s3://{BUCKET}/out/{{image}} é {{seed}}.mp4"
    files = sorted(user_with_store.folder.iterdir())

    ran = user_with_store.run(*words(VOICE, "--seed", 6, "-o", address))

    key = "out/host é 6.mp4"
    assert (ran.code, ran.stdout) == (0, f"s3://{BUCKET}/{key}\n"), ran.stderr
    assert sorted(user_with_store.folder.iterdir()) == files
    made = user_with_store.home / "check.mp4"
    made.write_bytes(body(s3, key))
    assert probe_video(made).frames == 12
    assert BUCKET not in json.dumps(read_recipe(made))
    assert s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "video/mp4"
    completed = user_with_store.run("_complete", "keys", f"s3://{BUCKET}/out/")
    assert f"s3://{BUCKET}/{key}" in completed.stdout
    assert gpu_calls(cloud, rpcs) == 1


def test_what_is_stored_is_not_made_again(cloud, user_with_store, rpcs):
    address = f"s3://{BUCKET}/out/host é 6.mp4"

    ran = user_with_store.run(*words(VOICE, "--seed", 6, "-o", address, "--json"))

    assert (ran.code, ran.data["output"], ran.data["already_made"]) == (0, address, True)
    assert gpu_calls(cloud, rpcs) == 0


def test_another_object_in_the_way_is_found_before_paying(cloud, user_with_store, s3, rpcs):
    s3.put_object(Bucket=BUCKET, Key="out/taken.mp4", Body=b"somebody's")
    address = f"s3://{BUCKET}/out/taken.mp4"

    ran = user_with_store.run(
        *words(VOICE, "--seed", 8, "-o", "taken.mp4", "--upload-to", address, "--json")
    )

    assert (ran.code, ran.error["code"]) == (3, "E_S3_EXISTS")
    assert address in ran.error["message"] and "--force" in ran.error["hint"]
    assert gpu_calls(cloud, rpcs) == 0
    assert body(s3, "out/taken.mp4") == b"somebody's"


def test_force_replaces_an_object(user_with_store, s3, front):
    front.seen.clear()
    address = f"s3://{BUCKET}/out/taken.mp4"

    ran = user_with_store.run(*words(VOICE, "--seed", 8, "-o", address, "--force", "--json"))

    assert (ran.code, ran.data["stored"]) == (0, address), ran.stderr
    assert len(body(s3, "out/taken.mp4")) > 1000
    (sent,) = [headers for method, _, headers in front.seen if method == "PUT"]
    assert "if-none-match" not in {name.lower() for name in sent}


@pytest.mark.long
def test_upload_stores_a_local_video_as_well(cloud, user_with_store, s3, front, rpcs):
    front.seen.clear()
    command = words(user_with_store.speech("both.wav", 0.4), "--upload", picture="host.png")

    ran = user_with_store.run(*command, "--json")

    assert ran.code == 0, ran.stderr
    key = f"outputs/both-{ran.data['job']}.mp4"
    assert ran.data["stored"] == f"s3://{BUCKET}/{key}"
    video = user_with_store.folder / "both.mp4"
    assert ran.data["output"] == str(video)
    assert body(s3, key) == video.read_bytes()
    (sent,) = [headers for method, _, headers in front.seen if method == "PUT"]
    assert {name.lower(): value for name, value in sent.items()}["if-none-match"] == "*"
    assert gpu_calls(cloud, rpcs) == 1

    again = user_with_store.run(*command, "--json")

    assert (again.code, again.data["stored"]) == (0, ran.data["stored"]), again.stdout
    assert keys(s3, "outputs/both") == [key]
    assert gpu_calls(cloud, rpcs) == 1


def test_a_refused_upload_loses_no_video(cloud, user_with_store, s3, front, rpcs):
    front.refused = {("PUT", f"/{LOCKED}")}
    address = f"s3://{LOCKED}/deep/refused.mp4"
    command = words(VOICE, "--seed", 9, "-o", address, "--json")

    ran = user_with_store.run(*command)

    assert (ran.code, ran.error["code"]) == (6, "E_S3_DENIED"), ran.error
    assert "the video is made" in ran.error["message"]
    hint = ran.error["hint"].split()
    assert hint[:3] == ["multitalk", "jobs", "fetch"]
    fetched = user_with_store.run(*hint[1:])
    assert (fetched.code, probe_video(user_with_store.folder / "refused.mp4").frames) == (0, 12)
    assert gpu_calls(cloud, rpcs) == 1

    front.refused = set()
    again = user_with_store.run(*command)

    assert (again.code, again.data["output"]) == (0, address), again.stdout
    assert body(s3, "deep/refused.mp4", LOCKED)
    assert gpu_calls(cloud, rpcs) == 1


def test_a_video_is_stored_when_nobody_waits_for_it(cloud, user_with_store, s3, tmp_path):
    folder = f"s3://{BUCKET}/late/"

    ran = user_with_store.run(*words(VOICE, "--seed", 10, "-o", folder, "--detach"))

    job = ran.stdout.strip()
    address = f"{folder}a voice+100%é-{job}.mp4"
    assert ran.code == 0, ran.stderr
    cloud.wait_until(lambda: keys(s3, "late/"), "the video is stored")
    elsewhere = User(user_with_store.cloud, user_with_store.site, tmp_path / "elsewhere")
    seen = elsewhere.run("jobs", "attach", job)
    assert (seen.code, seen.stdout) == (0, f"{address}\n"), seen.stderr
    assert not list(elsewhere.folder.iterdir())
    assert elsewhere.run("jobs", "fetch", job, "-o", "mine.mp4").code == 0
    made = (elsewhere.folder / "mine.mp4").read_bytes()
    assert made == body(s3, address.removeprefix(f"s3://{BUCKET}/"))


@pytest.mark.long
def test_a_lost_job_goes_on_with_the_inputs_that_were_kept(cloud, user_with_store, s3, rpcs):
    address = f"s3://{BUCKET}/lost/again.mp4"
    command = words(VOICE, "--steps", "11", "-o", address, "--json")
    # The function that prepares is warm; the pool of another GPU cannot start.
    user_with_store.run(*words(VOICE, "--plan"))
    cloud.faults.boot_failure = 3
    failed = user_with_store.run(*command, "--gpu", "b200")
    cloud.calm()
    assert (failed.code, failed.error["code"]) == (7, "E_START"), failed.stderr
    (kept,) = kept_files(cloud, "inputs.json")

    ran = user_with_store.run(*command)

    assert (ran.code, ran.data["stored"]) == (0, address), ran.stdout
    assert kept == f"{ran.data['job']}/inputs.json"
    assert keys(s3, "lost/") == ["lost/again.mp4"]
    assert gpu_calls(cloud, rpcs) == 2
    assert not kept_files(cloud, "inputs.json")


def test_a_job_that_is_cancelled_while_it_waits_leaves_nothing(cloud, user_with_store):
    # The function that prepares is warm, and the pool of another GPU is empty.
    user_with_store.run(*words(VOICE, "--plan"))
    cloud.no_capacity()
    ran = user_with_store.run(*words(VOICE, "--gpu", "h200", "-o", "never.mp4", "--detach"))
    assert kept_files(cloud, f"{ran.stdout.strip()}/inputs.json"), ran.stderr

    done = user_with_store.run("jobs", "cancel", ran.stdout.strip())

    assert done.code == 0, done.stderr
    assert not kept_files(cloud, "inputs.json")


def test_only_what_needs_the_secret_has_it(cloud, user_with_store):
    assert user_with_store
    names = {name: contract.APP_NAME for name in (CLASS, "prepare", "store", "download")}
    having = {
        name for name, app in names.items() if cloud.function(app, name).definition.secret_ids
    }

    assert having == {CLASS, "prepare", "store"}
