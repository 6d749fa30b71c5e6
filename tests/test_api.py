"""The library: plans, jobs, errors, and how little it does to the program that imports it."""

import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
from datetime import datetime, timedelta

import pytest

import multitalk_cli
from multitalk_cli import (
    Client,
    Done,
    FileError,
    JobHandle,
    RefusedError,
    RemoteError,
    Stage,
    UsageError,
    job_handle,
)
from multitalk_cli.jobs import ledger
from multitalk_cli.reporting.job_reporter import JobReporter
from multitalk_cli.reporting.reporter import StoppedError
from tests.command_line import EXAMPLES, ROOT
from tests.waiting import HANG_S

pytestmark = pytest.mark.slow

SMALL = {"backend": "preview", "size": "192x96"}
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def inputs(folder):
    """A portrait and voices, by the names of the page."""
    from PIL import Image

    shutil.copy(EXAMPLES / "portrait.png", "portrait.png")
    for name in ("voice.wav", "first.wav"):
        shutil.copy(EXAMPLES / "voice.wav", name)
    with Image.open("portrait.png") as one:
        face = one.convert("RGB").crop((256, 0, 768, 528))
    both = Image.new("RGB", (1024, 528))
    both.paste(face, (0, 0))
    both.paste(face, (512, 0))
    both.save("duo.png")
    return folder


@pytest.fixture
def second_voice(speech):
    """A recording that `voice.wav` is not."""
    return speech("second.wav", 1.0, start_s=1.2)


def submit(voice="voice.wav", **more):
    """A small preview."""
    return Client(**SMALL).submit("portrait.png", voice, **more)


# What importing it does


def test_every_public_name_is_there():
    for name in multitalk_cli.__all__:
        assert getattr(multitalk_cli, name) is not None
    assert set(multitalk_cli.__all__) <= set(dir(multitalk_cli))


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Clint"):
        multitalk_cli.Clint  # noqa: B018


def python(program, **env):
    """Runs a program in a fresh Python."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


def test_importing_the_package_loads_no_other_module():
    ran = python(
        "import sys; before = set(sys.modules); import multitalk_cli\n"
        "print(*sorted(set(sys.modules) - before))"
    )

    assert ran.stdout.split() == ["multitalk_cli"], ran.stderr


def test_the_client_is_imported_without_anything_heavy():
    ran = python("import sys; from multitalk_cli import Client; print(*sys.modules)")

    heavy = {"modal", "boto3", "numpy", "PIL", "typer", "rich", "pydantic", "platformdirs"}
    assert not heavy & set(ran.stdout.split()), ran.stderr


def test_a_plan_prints_nothing_and_leaves_signals_alone():
    program = (
        "import signal\n"
        "def mine(*_): pass\n"
        "for each in (signal.SIGINT, signal.SIGTERM): signal.signal(each, mine)\n"
        "from multitalk_cli import Client\n"
        "client = Client(backend='preview', size='192x96')\n"
        "assert client.plan('portrait.png', 'voice.wav').frames == 75\n"
        "client.submit('portrait.png', 'voice.wav').result()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is mine\n"
    )

    ran = python(program)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_types_are_part_of_the_package():
    assert (ROOT / "multitalk_cli" / "py.typed").is_file()


# Plans


def test_a_plan_says_what_would_be_made(second_voice):
    plan = Client(backend="preview", gpu="h200").plan("duo.png", "voice.wav", second_voice)

    assert (plan.image.width_px, [voice.name for voice in plan.voices]) == (
        1024,
        ["voice.wav", "second.wav"],
    )
    assert [person.voice for person in plan.people] == [0, 1]
    assert plan.duration_s == pytest.approx(plan.frames / plan.fps)
    assert plan.windows[0].start == 0
    assert (plan.estimates[0].gpu, plan.price_usd) == ("h200", plan.estimates[0].price_usd)
    assert any("cropped" in note for note in plan.adjusted)


def test_a_plan_writes_nothing_until_its_picture_is_asked_for(inputs):
    before = sorted(inputs.iterdir())
    plan = Client(**SMALL).plan("portrait.png", "voice.wav")
    assert sorted(inputs.iterdir()) == before

    assert plan.save_picture(inputs / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_beyond_the_money_is_refused():
    with pytest.raises(RefusedError) as caught:
        Client(backend="preview", max_cost=0.01).plan("portrait.png", "voice.wav")

    assert caught.value.code == "E_COST"


# Jobs


def test_a_job_becomes_a_video(inputs):
    job = submit(seed=7)

    video = job.result()
    assert (video.path, video.seed, video.already_made) == (
        inputs / "voice.preview.mp4",
        7,
        False,
    )
    assert (video.frames, video.price_usd, video.stored) == (75, None, None)
    assert (job.state, video.made.job_id, job.name) == ("done", job.id, "voice.preview.mp4")


def test_events_are_the_same_for_everyone_who_asks():
    job = submit()
    first = list(job.events())

    assert list(job.events()) == first
    assert isinstance(first[0], Stage)
    assert isinstance(first[-1], Done)


def test_events_can_be_read_from_several_threads():
    job, seen = submit(), {}
    threads = [
        threading.Thread(target=lambda n=n: seen.update({n: list(job.events())})) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen[0] == seen[1] == seen[2] == list(job.events())


def test_a_timeout_leaves_the_job_alone():
    job = submit()

    with pytest.raises(TimeoutError, match=job.id):
        job.result(timeout=0)

    assert job.result(timeout=HANG_S).path.is_file()


def test_a_job_that_is_cancelled_half_way_leaves_no_file(inputs):
    before = sorted(inputs.iterdir())
    job = submit()
    next(event for event in job.events() if event.name == "drawing")

    assert job.cancel() is True

    assert job.state == "cancelled"
    with pytest.raises(RemoteError) as caught:
        job.result()
    assert caught.value.code == "E_CANCELLED"
    assert sorted(inputs.iterdir()) == before


def test_a_finished_job_cannot_be_cancelled():
    job = submit()
    job.result()

    assert job.cancel() is False
    assert job.result().path.is_file()


def test_the_same_again_is_not_made_again():
    first = submit().result()

    again = submit().result()

    assert (again.path, again.already_made, again.made) == (first.path, True, None)
    assert again.seed == first.seed


def test_a_video_goes_where_its_job_began(inputs, tmp_path):
    job = submit(output="here.preview.mp4")
    os.chdir(tmp_path)

    assert job.result().path == inputs / "here.preview.mp4"


def test_positions_are_a_mapping(second_voice):
    speakers = {"right": "voice.wav", "left": second_voice}

    job = Client(**SMALL).submit("duo.png", speakers=speakers, output="both.preview.mp4")

    assert job.result().path.name == "both.preview.mp4"


def test_a_client_knows_its_jobs():
    client = Client(**SMALL)
    one = client.submit("portrait.png", "voice.wav", output="one.preview.mp4")
    two = client.submit("portrait.png", "voice.wav", output="two.preview.mp4")

    assert client.jobs() == [two, one]
    assert client.jobs(limit=1) == [two]
    assert client.job(one.id) is one
    assert client.job(one.id[:6]) is one
    with pytest.raises(UsageError) as caught:
        client.job("nothing")
    assert caught.value.code == "E_NO_JOB"
    assert {one.result().path.name, two.result().path.name} == {
        "one.preview.mp4",
        "two.preview.mp4",
    }


def test_the_state_of_a_job_that_is_not_followed_is_the_ledger_s():
    texts = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "h100"}
    for state in (ledger.RUNNING, ledger.DONE, ledger.FAILED, ledger.CANCELLED):
        names = {"id": state, "fingerprint": state, "label": state}
        ledger.Ledger().start(ledger.Job(**names, **texts, seed=0, target="", recipe="{}"))
        ledger.Ledger().update(state, state=state)

    handles = Client(backend="modal").jobs()

    assert {each.id: each.state for each in handles} == {each.id: each.id for each in handles}
    assert len(handles) == 4


def test_jobs_of_the_ledger_are_filtered_and_added_up():
    texts = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "h100"}
    for state, kind in (("failed", "generate"), ("cancelled", "generate"), ("done", "bench")):
        ledger.Ledger().start(
            ledger.Job(
                id=f"{state}-{kind}", fingerprint=state, label=state, kind=kind, seed=0, target="",
                recipe="{}", prompt=f"It is {state}", **texts,
            )
        )  # fmt: skip
        ledger.Ledger().update(f"{state}-{kind}", state=state, price_usd=0.25)
    client, tomorrow = Client(backend="modal"), datetime.now() + timedelta(days=1)

    def ids(**filters):
        return [each.id for each in client.jobs(**filters)]

    assert ids() == ["cancelled-generate", "failed-generate"]
    assert ids(states=["failed", "stopped"]) == ["failed-generate"]
    assert ids(search="it is CANC") == ["cancelled-generate"]
    assert ids(since=tomorrow) == []
    assert ids(refresh=True, limit=1) == ["cancelled-generate"]
    assert client.spent_usd() == 0.75
    assert client.spent_usd(since=tomorrow) == 0
    with pytest.raises(UsageError, match="not 'broken'"):
        client.jobs(states=["broken"])
    assert Client(backend="preview").jobs(states=["failed"]) == []


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fsp": 25}, "did you mean 'fps'"),
        ({"fps": 1000}, "fps must be"),
        ({"backend": "cloud"}, "backend must be one of"),
        ({"max_cost": float("nan")}, "max_cost must be"),
    ],
)
def test_settings_are_checked_when_the_client_is_made(settings, message):
    with pytest.raises(UsageError) as caught:
        Client(**settings)

    assert message in caught.value.message


def test_what_is_wrong_with_the_inputs_is_raised_by_submit(inputs):
    before = sorted(inputs.iterdir())

    with pytest.raises(FileError) as caught:
        submit("nowhere.wav")

    assert caught.value.code == "E_FILE_MISSING"
    assert sorted(inputs.iterdir()) == before


def test_a_file_that_something_else_made_is_not_overwritten():
    submit(seed=1).result()

    with pytest.raises(FileError) as caught:
        submit(seed=2)

    assert caught.value.code == "E_OUTPUT_EXISTS"
    assert submit(seed=2, force=True).result().seed == 2


def test_a_failure_while_it_works_is_raised_by_result(inputs):
    job = submit(output="late.preview.mp4")
    next(job.events())
    (inputs / "late.preview.mp4").write_text("of another program")

    with pytest.raises(FileError) as caught:
        job.result()

    assert (caught.value.code, job.state) == ("E_OUTPUT_EXISTS", "failed")
    assert not any(isinstance(event, Done) for event in job.events())


def test_nothing_is_set_up_and_no_preview_is_made_unasked():
    with pytest.raises(multitalk_cli.SetupError) as caught:
        Client(backend="auto").submit("portrait.png", "voice.wav")

    assert caught.value.code == "E_NO_BACKEND"


def test_a_program_that_ends_waits_for_its_preview(inputs):
    ran = python(
        "from multitalk_cli import Client\n"
        "Client(backend='preview', size='192x96').submit('portrait.png', 'voice.wav')"
    )

    assert ran.returncode == 0, ran.stderr
    assert (inputs / "voice.preview.mp4").is_file()


# The page


@pytest.mark.usefixtures("second_voice")
@pytest.mark.parametrize("block", [each for each in BLOCKS if 'backend="modal"' not in each])
def test_examples_of_the_page_run(block):
    ran = python(block)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_readme_names_the_page():
    assert "(docs/library.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_each_result_raises_an_error_of_its_own(inputs):
    """Asked again and again, by several threads, without a traceback that grows."""
    (inputs / "gone").mkdir()
    job = submit(output="gone/x.preview.mp4")
    shutil.rmtree(inputs / "gone")
    seen = []
    for _ in range(3):
        with pytest.raises(FileError) as caught:
            job.result()
        seen.append(caught.value)

    assert len({id(error) for error in seen}) == 3
    assert len({(error.code, error.message, error.hint) for error in seen}) == 1
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in seen}) == 1


def test_a_forked_process_is_told_instead_of_waiting_for_ever():
    job = submit()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        codes = []
        for call in (job.result, job.cancel, lambda: next(job.events())):
            try:
                call()
            except UsageError as error:
                codes.append(error.code)
        os.write(writing, " ".join(codes).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 100) == b"E_CONFLICT E_CONFLICT E_CONFLICT"
    assert job.result().path.is_file()
    os.close(reading)
    os.close(writing)


def test_an_own_job_on_this_machine_keeps_its_output(inputs):
    client = Client(**SMALL)
    job = client.submit("portrait.png", "voice.wav")

    assert client.job(job.id) is job
    for more in ({"output": "other.preview.mp4"}, {"force": True}):
        with pytest.raises(UsageError) as caught:
            client.job(job.id, **more)
        assert caught.value.code == "E_CONFLICT"
    assert job.result().path == inputs / "voice.preview.mp4"


def test_at_the_end_all_jobs_are_left_at_once(monkeypatch):
    """No thread ends before every handle was asked: one after the other would wait for each."""
    monkeypatch.setattr(job_handle, "_DETACH_S", 60.0)
    reporters = [JobReporter() for _ in range(4)]

    def follow():
        for reporter in reporters:
            assert reporter.should_detach.wait(60)
        raise StoppedError

    jobs = [
        JobHandle(f"job-{number}", "x", follow, reporter, outlives_program=True)
        for number, reporter in enumerate(reporters)
    ]
    for job in jobs:
        job.follow()

    job_handle._leave_jobs()

    assert [job.state for job in jobs] == ["cancelled"] * 4
    assert not job_handle._followed & {*jobs}
