"""Who may import whom, and that importing does nothing else."""

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
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
SHARED = {
    "bench_task", "contract", "errors", "media", "plan", "plan_sketch", "preparation", "prepared",
    "rates", "request", "storage", "storage_access", "storage_digests", "storage_errors",
    "storage_probe", "tasks", "wording",
}  # fmt: skip
"""What the container may use of the client; these import only each other."""

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
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = list(_imports(self.tree, in_function=False, for_types=False))

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


def client_without(*names):
    """The client's modules but for these files and folders."""
    return [
        module
        for module in CLIENT
        if not module.name.removeprefix("multitalk_cli/").startswith(names)
    ]


def named(*names):
    found = [module for module in CLIENT + REMOTE if module.name in names]
    assert len(found) == len(names)
    return found


def test_there_is_something_to_check():
    assert len(CLIENT) > 20
    assert len(ENGINE) > 10


def test_click_diffusers_and_transformers_are_imported_nowhere():
    """Only tests compare with the last two, which take seconds to import."""
    assert not offending(CLIENT + REMOTE, tops("click", "diffusers", "transformers"))
    assert not offending(CLIENT + REMOTE, lambda each: "_click" in each.module)


def test_modal_is_imported_by_its_own_modules_only():
    client = client_without("cloud.py", "cloud_secrets.py", "deploying.py")
    rest = [module for module in REMOTE if module.name not in ("remote/app.py", "remote/image.py")]

    assert not offending([*client, *rest], tops("modal"))


def test_the_client_never_imports_torch():
    assert not offending(CLIENT, tops("torch", "transformers", "safetensors"))


def test_heavy_packages_are_imported_inside_functions():
    assert not offending(
        CLIENT, lambda each: each.top in HEAVY and not each.in_function and not each.for_types
    )


def test_boto3_is_imported_by_storage_only():
    assert not offending([*client_without("storage"), *REMOTE], tops("boto3", "botocore"))


def test_rich_draws_progress_only():
    assert not offending(client_without("progress.py"), tops("rich"))


def test_typer_declares_commands_only():
    assert not offending(client_without("main.py", "pages.py", "commands/"), tops("typer"))


def test_four_modules_import_remote_and_do_so_inside_a_function():
    allowed = ("backends/local.py", "deploying.py", "secret_trials.py", "weights_here.py")

    assert not offending(client_without(*allowed), tops("remote"))
    assert not offending(
        CLIENT, lambda each: each.top == "remote" and not each.in_function and not each.for_types
    )


def test_the_contract_needs_the_standard_library_only():
    modules = named(*(f"multitalk_cli/{name}.py" for name in ("__init__", "contract", "errors")))
    allowed = sys.stdlib_module_names | {"multitalk_cli"}

    assert not offending(modules, lambda each: each.top not in allowed)
    assert not offending(modules, lambda each: _part(each) not in SHARED | {""})


def _part(imported):
    """The module or package of the client that an import reaches into; "" for another package."""
    words = imported.module.split(".")
    return words[1] if words[0] == "multitalk_cli" and words[1] != "__version__" else ""


def test_what_the_container_uses_imports_nothing_else_of_the_client():
    shared = [
        module
        for module in CLIENT
        if module.path.relative_to(ROOT / "multitalk_cli").parts[0].removesuffix(".py") in SHARED
    ]

    assert not offending([*shared, *REMOTE], lambda each: _part(each) not in SHARED | {""})


def test_the_container_s_code_draws_nothing():
    assert not offending(REMOTE, tops("rich", "typer"))


def test_the_engine_knows_nothing_of_the_service():
    assert not offending(ENGINE, tops("modal", "boto3", "huggingface_hub", "multitalk_cli"))


def test_the_engine_needs_torch_numpy_and_safetensors_to_be_imported():
    allowed = sys.stdlib_module_names | {"numpy", "remote", "safetensors", "torch", "triton"}
    bench = [module for module in REMOTE if module.name == "remote/bench.py"]

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


def test_only_settings_and_output_read_the_environment():
    # Modal has settings of its own, which modal_config.py reads as Modal does. Secrets are taken
    # from the environment where the user asks for that. __main__.py sets numpy's threads.
    readers = ("__main__.py", "settings.py", "output.py", "modal_config.py", "secret_sources.py")

    assert not users(client_without(*readers), "os.environ", "os.getenv")


def test_only_output_prints():
    printers = ("sys.stdout", "sys.stderr", "print", "typer.echo", "typer.secho")

    assert not users(client_without("output.py"), *printers)


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
