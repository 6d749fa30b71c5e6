"""Who may import whom, and that importing does nothing else."""

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HEAVY = {
    "boto3",
    "botocore",
    "huggingface_hub",
    "imageio_ffmpeg",
    "librosa",
    "modal",
    "numpy",
    "PIL",
    "platformdirs",
    "pydantic",
    "soundfile",
    "soxr",
    "tomlkit",
}
FLOORS = (
    ("multitalk_cli.__main__",),
    ("multitalk_cli.cli",),
    ("multitalk_cli.doctor",),
    ("multitalk_cli.api",),
    ("multitalk_cli.job_handle",),
    ("multitalk_cli.batch", "multitalk_cli.recipes"),
    ("multitalk_cli.generation",),
    ("multitalk_cli.weights", "multitalk_cli.jobs"),
    ("multitalk_cli.cloud",),
    ("remote.app", "remote.proof_app"),
    ("remote.worker", "remote.deployment"),
    ("remote.bench",),
    ("remote.service",),
    ("remote.weights",),
    ("remote.engine",),
    ("multitalk_cli.settings",),
    ("multitalk_cli.planning",),
    ("multitalk_cli.media", "multitalk_cli.storage"),
    ("multitalk_cli.reporting",),
    ("multitalk_cli.contract",),
    ("multitalk_cli.files",),
    ("multitalk_cli.errors",),
    ("multitalk_cli", "remote"),
)
"""The rooms, from the top of the house down: each imports only from floors below its own."""

SHARED = ("planning", "media", "storage", "reporting", "contract", "files", "errors")
"""What the container may use of the client."""

FACES = (
    "multitalk_cli", "multitalk_cli.contract", "multitalk_cli.errors", "multitalk_cli.settings",
)  # fmt: skip
"""Packages whose `__init__` shows what their modules hold."""

AT_IMPORT_FORBIDDEN = {
    "chdir", "connect", "exec", "getenv", "mkdir", "open", "Popen", "putenv", "read_bytes",
    "read_text", "setdefault", "setenv", "system", "unlink", "urlopen", "write_bytes", "write_text",
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One name that a module imports."""

    module: str
    line: int
    in_function: bool
    for_types: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


class Module:
    """A source file, parsed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()

    # Not before a test asks: every worker collects these tests, and one runs them.
    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, in_function=False, for_types=False))

    def __repr__(self) -> str:
        return self.name


def _imports(node: ast.AST, *, in_function: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, in_function, for_types)
        elif isinstance(child, ast.ImportFrom):
            for name in child.names:
                full = f"{child.module}.{name.name}"
                yield Import(full, child.lineno, in_function, for_types)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(child, in_function=in_function, for_types=True)
        else:
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, in_function=inside, for_types=for_types)


def _modules(package: str) -> list[Module]:
    return [Module(path) for path in sorted((ROOT / package).rglob("*.py"))]


CLIENT, REMOTE = _modules("multitalk_cli"), _modules("remote")
ENGINE = [module for module in REMOTE if module.name.startswith("remote/engine/")]


def offending(modules, is_wrong):
    """Every import of these modules that breaks a rule, as a line to read."""
    return [
        f"{module.name}:{each.line} imports {each.module}"
        for module in modules
        for each in module.imports
        if is_wrong(each)
    ]


def tops(*names):
    return lambda each: each.top in names


def without(modules, *names):
    """The modules but for these files and folders."""
    return [module for module in modules if not module.name.startswith(names)]


def test_there_is_something_to_check():
    assert len(CLIENT) > 20
    assert len(ENGINE) > 10


def test_click_diffusers_and_transformers_are_imported_nowhere():
    """Tests and one deployed function compare with the last two, which take seconds to import."""
    rest = without(REMOTE, "remote/worker/prove_encoders.py", "remote/worker/references.py")

    assert not offending(CLIENT + rest, tops("click", "diffusers", "transformers"))
    assert not offending(CLIENT + REMOTE, lambda each: "_click" in each.module)


def test_modal_is_imported_by_the_cloud_rooms_only():
    rooms = ("multitalk_cli/cloud/", "remote/app.py", "remote/proof_app.py", "remote/deployment/")

    assert not offending(without(CLIENT + REMOTE, *rooms), tops("modal"))


def test_the_client_never_imports_torch():
    assert not offending(CLIENT, tops("torch", "transformers", "safetensors"))


def test_heavy_packages_are_imported_inside_functions():
    assert not offending(
        CLIENT, lambda each: each.top in HEAVY and not each.in_function and not each.for_types
    )


def test_boto3_is_imported_by_storage_only():
    rest = without(CLIENT + REMOTE, "multitalk_cli/storage/")

    assert not offending(rest, tops("boto3", "botocore"))


def test_rich_and_typer_are_imported_by_the_command_line_only():
    assert not offending(without(CLIENT, "multitalk_cli/cli/"), tops("rich", "typer"))


def test_three_places_import_remote_and_do_so_inside_a_function():
    allowed = ("generation/backends/local.py", "cloud/deploy.py", "weights/local.py")
    rest = without(CLIENT, *(f"multitalk_cli/{name}" for name in allowed))

    assert not offending(rest, tops("remote"))
    assert not offending(
        CLIENT, lambda each: each.top == "remote" and not each.in_function and not each.for_types
    )


def test_contract_and_errors_need_the_standard_library_only():
    rooms = ("multitalk_cli/__init__.py", "multitalk_cli/contract/", "multitalk_cli/errors/")
    modules = [module for module in CLIENT if module.name.startswith(rooms)]
    allowed = sys.stdlib_module_names | {"multitalk_cli"}

    assert len(modules) > 8
    assert not offending(modules, lambda each: each.top not in allowed)


def test_the_container_uses_shared_rooms_of_the_client_only():
    rooms = tuple(f"multitalk_cli.{room}" for room in SHARED)

    def is_wrong(each):
        return each.top == "multitalk_cli" and not (
            each.module.startswith(rooms) or each.module == "multitalk_cli.__version__"
        )

    assert not offending(REMOTE, is_wrong)


# Floors and circles


def _dotted(module):
    return module.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _room(name):
    """The room that a module lies in."""
    rooms = [room for floor in FLOORS for room in floor]
    fitting = [room for room in rooms if name == room or name.startswith(f"{room}.")]
    return max(fitting, key=len)


def _arrows():
    """Module -> modules of ours that it imports, inside functions and for types too."""
    names = {_dotted(module) for module in CLIENT + REMOTE}
    arrows = {}
    for module in CLIENT + REMOTE:
        if _dotted(module) in FACES:
            continue
        reached = (
            each.module if each.module in names else each.module.rpartition(".")[0]
            for each in module.imports
        )
        arrows[_dotted(module)] = {name for name in reached if name in names} - {_dotted(module)}
    return arrows


def test_no_room_imports_from_its_own_floor_or_from_above():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    upwards = [
        f"{name} imports {other}"
        for name, others in _arrows().items()
        for other in others
        if _room(name) != _room(other) and floor_of[_room(other)] <= floor_of[_room(name)]
    ]

    assert not upwards


def test_every_room_exists():
    names = {_dotted(module) for module in CLIENT + REMOTE}

    assert {room for floor in FLOORS for room in floor} <= names


def test_modules_import_each_other_in_no_circle():
    order = TopologicalSorter(_arrows())

    order.prepare()  # raises CycleError, which names the circle


def test_the_container_s_code_draws_nothing():
    assert not offending(REMOTE, tops("rich", "typer"))


def test_the_engine_knows_nothing_of_the_service():
    assert not offending(ENGINE, tops("modal", "boto3", "huggingface_hub", "multitalk_cli"))


def test_the_engine_needs_torch_numpy_and_safetensors_to_be_imported():
    allowed = sys.stdlib_module_names | {"numpy", "remote", "safetensors", "torch", "triton"}
    bench = [module for module in REMOTE if module.name.startswith("remote/bench/")]

    def is_wrong(each):
        return each.top not in allowed and not (each.in_function or each.for_types)

    assert not offending(ENGINE, is_wrong)
    assert not offending(bench, lambda each: is_wrong(each) and each.top != "multitalk_cli")


def users(modules, *names):
    """Where these functions and attributes are used."""
    return [
        f"{module.name}:{node.lineno} uses {ast.unparse(node)}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in names
    ]


def test_the_engine_reads_no_environment_and_prints_nothing():
    assert not users(ENGINE, "os.environ", "os.getenv", "sys.stdout", "sys.stderr", "print")


def test_only_settings_and_the_console_read_the_environment():
    # Modal, AWS and proxies have settings of their own, which are read as their libraries do.
    # Secrets are taken from the environment where the user asks for that. __main__.py sets numpy's
    # threads.
    readers = (
        "__main__.py", "settings/load.py", "cli/console.py", "cli/streams.py",
        "cloud/modal_config.py",
        "cloud/secrets/sources.py", "errors/masking.py", "media/video/ffmpeg.py",
        "storage/access.py", "storage/certificates.py", "storage/endpoint.py", "storage/hub.py",
    )  # fmt: skip
    rest = without(CLIENT, *(f"multitalk_cli/{name}" for name in readers))

    assert not users(rest, "os.environ", "os.getenv")


def test_only_the_console_prints():
    printers = ("sys.stdout", "sys.stderr", "print", "typer.echo", "typer.secho")

    assert not users(
        without(CLIENT, *(f"multitalk_cli/cli/{name}.py" for name in ("console", "streams"))),
        *printers,
    )


def test_no_function_is_longer_than_sixty_lines():
    long = [
        f"{module.name}:{node.lineno} {node.name}"
        for module in CLIENT + REMOTE
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 60
    ]

    assert not long


def test_below_the_command_line_nothing_asks_exits_or_signals():
    below = without(CLIENT, "multitalk_cli/cli/", "multitalk_cli/__main__.py")

    assert not users(below, "sys.stdin", "sys.exit", "os.kill", "signal.signal", "os._exit")


# Nothing happens at import


def _run_at_import(node):
    """Every call and name that runs when the module is imported: not what functions hold."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = child.args
            outer = [*arguments.defaults, *(each for each in arguments.kw_defaults if each)]
            outer += getattr(child, "decorator_list", [])
            for each in outer:
                yield each
                yield from _run_at_import(each)
        elif not (isinstance(child, ast.If) and "__name__" in ast.unparse(child.test)):
            yield child
            yield from _run_at_import(child)


def test_nothing_is_read_or_changed_at_import():
    found = [
        f"{module.name}:{node.lineno} runs {ast.unparse(node)}"
        for module in CLIENT + REMOTE
        for node in _run_at_import(module.tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ")
        or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).rpartition(".")[2] in AT_IMPORT_FORBIDDEN
        )
    ]

    assert not found


WATCHER = textwrap.dedent("""
    import importlib, json, os, sys
    seen = []

    def watch(event, arguments):
        if event == "open":
            path, mode = str(arguments[0]), arguments[1] or "r"
            ours = path.startswith(ROOT) and not path.endswith((".py", ".pyc"))
            if not set(mode) <= set("rbt") and ".pyc." not in path or ours and "/.git" not in path:
                seen.append(f"open {path}")
        elif event.startswith(("socket.connect", "subprocess.", "os.system", "os.putenv",
                               "os.unsetenv", "os.mkdir", "os.remove", "urllib.")):
            seen.append(f"{event} {arguments}")

    ROOT = sys.argv[1]
    before = dict(os.environ)
    sys.addaudithook(watch)
    for name in sys.argv[2:]:
        importlib.import_module(name)
    found = [*seen, *(n for n in os.environ if os.environ[n] != before.get(n))]
    json.dump({"seen": found, "modules": sorted(sys.modules)}, sys.stdout)
""")


def watch_import(*names):
    """What importing modules in a fresh Python did, and which modules are loaded then."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHER, str(ROOT), *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_importing_the_whole_client_touches_nothing_and_loads_nothing_heavy():
    names = [
        module.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for module in CLIENT
        if not module.name.endswith("__main__.py")
    ]
    watched = watch_import(*names)

    assert watched["seen"] == []
    assert not set(watched["modules"]) & (HEAVY | {"torch", "transformers", "remote"})


LOADED = textwrap.dedent("""
    import json, runpy, sys
    sys.argv = ["multitalk", *sys.argv[1:]]
    try:
        runpy.run_module("multitalk_cli", run_name="__main__", alter_sys=True)
    except SystemExit:
        pass
    json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
""")


@pytest.mark.parametrize(
    ("arguments", "tolerated"),
    [
        (["--help"], set()),
        (["--version"], set()),
        # Typer loads pydantic, where it is installed, to convert the options before a command.
        (["generate", "--help"], {"pydantic"}),
        (["explain"], {"pydantic"}),
    ],
)
def test_help_and_version_load_nothing_heavy(arguments, tolerated):
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(json.loads(ran.stderr))
    assert "multitalk" in ran.stdout or "E_BUG" in ran.stdout
    assert not loaded & (HEAVY - tolerated)


def test_the_version_is_told_without_typer():
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert not set(json.loads(ran.stderr)) & {"typer", "rich"}
