"""Wiring: image, volumes, secret, a class for the GPU, a function for the CPU."""

import json
import os
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import modal

from sample_engine.work import table

HERE = Path(__file__).parent
APP_NAME = "sample"
WITH_SECRET = os.environ.get("SAMPLE_WITH_SECRET", "0")

image = (
    modal.Image.debian_slim(python_version="3.11")
    .apt_install("ffmpeg=7:5.1.6-0+deb12u1")
    .pip_install("numpy==2.1.3")
    .env({"SAMPLE_WITH_SECRET": WITH_SECRET, "GREETING": "two words"})
    .add_local_python_source("sample_engine")
    .add_local_dir(HERE / "data", "/root/sample_engine/data")
)
app = modal.App(APP_NAME, image=image)
weights = modal.Volume.from_name("sample-weights", create_if_missing=True, version=2)
jobs = modal.Volume.from_name("sample-jobs", create_if_missing=True)
progress = modal.Dict.from_name("sample-progress", create_if_missing=True)
secrets = [modal.Secret.from_name("aws-secret")] if WITH_SECRET == "1" else []


def _has_code(package):
    """Whether a package can be imported; a folder that was emptied is a package without origin."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


@app.cls(
    gpu=["H100", "A100-80GB"],
    volumes={"/weights": weights.with_mount_options(read_only=True), "/jobs": jobs},
    secrets=secrets,
    timeout=60,
    startup_timeout=60,
    scaledown_window=30,
    max_containers=2,
    retries=0,
)
class Engine:
    """Stays warm between calls."""

    @modal.enter()
    def set_up(self):
        """Runs once per container."""
        self.calls = 0

    @modal.method()
    def inspect(self, request):
        """What a container sees."""
        self.calls += 1
        return {
            "calls": self.calls,
            "pid": os.getpid(),
            "call_id": modal.current_function_call_id(),
            "table": table()["answer"],
            "weights": sorted(path.name for path in Path("/weights").iterdir()),
            "key": os.environ.get("AWS_ACCESS_KEY_ID"),
            "greeting": os.environ.get("GREETING"),
            "ours": [name for name in ("multitalk_cli", "remote") if _has_code(name)],
            "home": sorted(path.name for path in Path("/root").iterdir()),
            "echo": request,
        }

    @modal.method()
    def generate(self, request):
        """Claims the job, takes `steps` steps with checkpoints, says where it started."""
        job, me = request["job"], modal.current_function_call_id()
        if not progress.put(f"{job}/owner", me, skip_if_exists=True):
            if progress[f"{job}/owner"] != me:
                return {"failed": "duplicate"}
            jobs.reload()
        checkpoint = Path("/jobs", f"{job}.json")
        first = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(first, request["steps"]):
            time.sleep(request.get("step_s", 0.05))
            checkpoint.write_text(json.dumps(step + 1))
            jobs.commit()
            progress[job] = json.dumps({"step": step + 1})
            print(f"step {step + 1}", flush=True)
        return {"steps": request["steps"], "first": first}

    @modal.method()
    def write(self, request):
        """Writes a file, and commits it where asked."""
        Path("/jobs", request["name"]).write_bytes(request["data"])
        if request["commit"]:
            jobs.commit()

    @modal.method()
    def read(self, request):
        """Reads a file, after a reload where asked; with `hold`, while the file is open."""
        path = Path("/jobs", request["name"])
        if request.get("hold"):
            with path.open("rb"):
                jobs.reload()
        if request.get("reload"):
            jobs.reload()
        return path.read_bytes() if path.exists() else None

    @modal.method()
    def break_rules(self, request):
        """Tries what a container must not be able to do."""
        try:
            Path("/weights/new").write_bytes(b"")
        except OSError as problem:
            return {"weights": problem.strerror}
        return {"weights": "written", "echo": request}

    @modal.method()
    def fail(self, request):
        """Raises."""
        raise ValueError(f"cannot do {request}")

    @modal.method()
    def ignore_cancel(self, request):
        """Works on when it is cancelled."""
        end = time.monotonic() + request["seconds"]
        print("busy", flush=True)
        while time.monotonic() < end:
            with suppress(BaseException):
                time.sleep(0.1)

    @modal.method()
    def sleep(self, request):
        """Sleeps, with a child that outlives an unclean end."""
        child = subprocess.Popen(["sleep", "20"])
        try:
            print(f"child {child.pid}", flush=True)
            time.sleep(request["seconds"])
        finally:
            child.kill()
            child.wait()
        return request["seconds"]


@app.cls(scaledown_window=5, timeout=3, max_containers=1)
class Fragile:
    """Fails to load where the Dict says so; times out after 3 s."""

    @modal.enter()
    def set_up(self):
        """Fails on demand."""
        if progress.get("fragile"):
            raise RuntimeError("weights missing")

    @modal.method()
    def sleep(self, request):
        """Sleeps."""
        time.sleep(request["seconds"])
        return request["seconds"]


@app.function(scaledown_window=30, secrets=secrets, max_containers=1)
def probe(request):
    """The CPU function."""
    return {"length": len(request["data"]), "data": request["data"][::-1]}
