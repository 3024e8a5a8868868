"""The package as a whole: what importing costs, which way imports point, and what ships."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import gantrol

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "gantrol"
MODULES = {
    ".".join(("gantrol", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Each part of the package, from the bottom up, with the parts it may import. Whatever is not listed is imported by
# nothing below it; a new part has to take its place here.
BASE = {"gantrol", "errors", "config", "atomic"}
LAYERS: dict[str, set[str]] = {
    "gantrol": set(),
    "errors": set(),
    "config": BASE,
    "atomic": BASE,
    "ops": BASE,
    "inert_pickle": BASE,
    "data": BASE | {"inert_pickle"},
    "checkpoint": BASE,
    "pictures": BASE,
    "video": BASE | {"pictures"},
    "models": BASE | {"ops"},
    "controls": BASE,
    "control": BASE | {"ops", "models", "data", "controls", "checkpoint", "pictures"},
    "hub": BASE | {"checkpoint"},
    "model_card": BASE | {"models", "controls"},
    "convert": BASE | {"models", "control", "controls", "device", "model", "checkpoint", "inert_pickle"},
    "replay": BASE | {"ops", "models"},
    "sample": BASE | {"models", "pictures", "replay"},
    "device": BASE,
    "model_files": BASE | {"models", "checkpoint", "hub"},
    "model": BASE
    | {"control", "controls", "models", "replay", "sample", "device", "hub", "model_card", "model_files", "pictures"},
    "mixing": BASE | {"models", "model", "sample", "pictures"},
    "strips": BASE | {"controls", "model", "sample", "pictures"},
    "films": BASE | {"controls", "models", "model", "mixing", "sample", "pictures"},
    "metrics": BASE
    | {"ops", "models", "control", "controls", "data", "device", "model", "sample", "pictures", "checkpoint", "hub"},
    "export": BASE | {"models", "control", "controls", "model", "ops", "sample"},
    "inside": BASE | {"ops", "models", "model", "sample", "pictures", "metrics"},
    "sweeps": BASE | {"control", "controls", "model", "sample", "pictures", "strips", "metrics"},
    "project": BASE | {"data", "models", "model", "sample", "metrics", "checkpoint", "pictures"},
    "train": BASE | {"ops", "models", "control", "data", "checkpoint", "pictures", "sample", "model", "hub", "metrics"},
    "report": BASE | {"train", "metrics", "checkpoint", "hub", "pictures"},
    "bulk": BASE | {"checkpoint", "data", "metrics", "model", "sample"},
    "studio": BASE
    | {"ops", "models", "control", "controls", "data", "model", "sample", "pictures", "video", "checkpoint", "hub"}
    | {"films", "strips", "mixing", "metrics", "project", "inside", "sweeps", "report", "train"},
    "__main__": {"cli"},
    "cli": BASE
    | {"data", "models", "train", "model", "model_card", "model_files", "hub", "sample", "metrics", "pictures", "video"}
    | {
        "checkpoint",
        "convert",
        "control",
        "controls",
        "films",
        "strips",
        "mixing",
        "project",
        "report",
        "export",
        "studio",
        "bulk",
    },
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(module: str, *, only_at_import: bool = False) -> Iterator[str]:
    """Full names of all modules and members that `module` imports; `if TYPE_CHECKING` counts as never executed."""
    is_package = MODULES[module].name == "__init__.py"

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            prefix = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        skipped: list[ast.stmt] = []
        if only_at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped = node.body
        for child in ast.iter_child_nodes(node):
            if child not in skipped:
                yield from visit(child)

    return visit(tree(MODULES[module]))


def part(name: str) -> str:
    """Which part of the package a full name belongs to: its first step below `gantrol`."""
    steps = name.split(".")
    return steps[1] if len(steps) > 1 and steps[1] in LAYERS else "gantrol"


def run_python(code: str, **environment: str) -> Any:
    """What `code` prints as JSON, in a fresh interpreter."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ----------------------------------------------------------------------------------------------------------------------
# Which way imports point


def test_every_part_has_its_place() -> None:
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts | {"gantrol"} == set(LAYERS), "put a new part of the package into LAYERS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    own = part(module)
    if own == "gantrol":  # the package itself only names its parts, and imports them when they are used
        assert not list(filter(lambda name: name.startswith("gantrol"), imported(module, only_at_import=True)))
        return
    found = {part(name) for name in imported(module) if name.split(".")[0] == "gantrol"} - {own}
    assert found <= LAYERS[own], f"{module} must not import {sorted(found - LAYERS[own])}"


def test_the_layers_hold_no_circle() -> None:
    """Going down from any part never comes back to it."""

    def below(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        assert name not in seen, f"{name} imports itself through {sorted(seen)}"
        reached = LAYERS[name] - BASE
        return reached.union(*(below(other, seen | {name}) for other in reached))

    for name in LAYERS:
        assert name not in below(name)
    assert below("data") == {"inert_pickle"}
    assert below("ops") == set()
    assert below("models") == {"ops"}
    assert not below("train") & {"cli", "report"}
    assert not below("metrics") & {"cli", "train"}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_torchvision(module: str) -> None:
    assert not [name for name in imported(module) if name.split(".")[0] == "torchvision"]


def test_no_requirement_brings_torchvision() -> None:
    """Neither ours, nor what is installed of our requirements, asks for it (outside extras of theirs)."""
    seen: set[str] = set()
    waiting = ["gantrol"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            requirements = distribution(name).requires or []
        except ModuleNotFoundError:
            continue  # an extra that is not installed here
        waiting += [
            re.split(r"[^\w.-]", line)[0] for line in requirements if name == "gantrol" or "extra ==" not in line
        ]
    assert "torch" in seen
    assert "torchvision" not in seen


# ----------------------------------------------------------------------------------------------------------------------
# What importing costs


def test_the_bare_package_and_the_help_load_nothing_heavy() -> None:
    code = """
import json, sys
import gantrol, gantrol.cli, gantrol.errors, gantrol.data
try:
    gantrol.cli.main(["--help"])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.__stdout__)
"""
    code = code.replace("gantrol.cli.main", "import io; sys.stdout = io.StringIO(); gantrol.cli.main", 1)
    loaded = set(run_python(code))
    heavy = {"torch", "numpy", "scipy", "PIL", "tyro", "rich", "av", "gradio", "huggingface_hub", "lightning_fabric"}
    assert not heavy & loaded
    assert len(loaded) < 400


def test_using_a_model_loads_no_extra() -> None:
    code = (
        "import gantrol, json, sys; gantrol.load; gantrol.models; gantrol.ops; print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(run_python(code))
    assert "torch" in loaded
    heavy = {"av", "gradio", "huggingface_hub", "lightning_fabric", "torchmetrics", "tensorboard", "tyro"}
    assert not heavy & loaded


def test_rendering_workers_do_without_torch() -> None:
    """Each process that renders portraits imports this package: torch would cost it seconds and memory."""
    code = "import gantrol.data.faces, json, sys; print(json.dumps('torch' in sys.modules))"
    assert run_python(code) is False


def test_importing_everything_touches_nothing(tmp_path: Path) -> None:
    """No module of ours opens a file of data, connects, sets the environment or asks for a device when imported."""
    code = f"""
import json, os, socket, sys
import torch, numpy, scipy.interpolate, scipy.signal, scipy.special, PIL.Image, safetensors, rich.console, rich.progress
import tyro, lightning_fabric, torchmetrics.image.fid
touched = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        is_code = arguments[0].endswith((".py", ".pyc", ".so"))
        if not is_code and "__pycache__" not in arguments[0]:
            touched.append([event, arguments[0]])
    elif event in ("socket.connect", "os.putenv", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"):
        touched.append([event, str(arguments)])
environment, threads, cuda = dict(os.environ), torch.get_num_threads(), torch.cuda.is_initialized()
random_state = torch.get_rng_state()
sys.addaudithook(watch)
sys.dont_write_bytecode = True
import importlib
for name in {list(MODULES)!r}:
    importlib.import_module(name)
touched += [["environment", name] for name in os.environ if os.environ[name] != environment.get(name)]
assert threads == torch.get_num_threads() and cuda == torch.cuda.is_initialized()
assert torch.equal(random_state, torch.get_rng_state())
print(json.dumps(touched))
"""
    for module in MODULES:
        names = set(imported(module, only_at_import=True))
        assert not any(name.split(".")[0] in ("av", "gradio", "huggingface_hub") for name in names), module
    assert run_python(code, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------------------------
# What ships


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    text = ast.get_docstring(tree(MODULES[module]))
    assert text, f"{module} has no docstring"
    assert text.splitlines()[0].strip()


@pytest.mark.parametrize("module", MODULES)
def test_every_public_config_field_is_described(module: str) -> None:
    """A docstring follows each field of a public, keyword-only dataclass: it is the option's help or the config's."""
    for node in ast.walk(tree(MODULES[module])):
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("Config"):
            continue
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert is_text, f"{module}: {node.name}.{ast.unparse(field.target)} has no docstring"


def test_nothing_prints_or_exits_but_the_command_line() -> None:
    for module, path in MODULES.items():
        if part(module) != "cli":
            calls = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
            assert not calls & {"print", "exit", "quit", "sys.exit"}, module


def test_no_pickle_is_ever_read() -> None:
    for module, path in MODULES.items():
        if part(module) != "inert_pickle":
            assert not any(name.split(".")[0] in ("pickle", "dill", "joblib") for name in imported(module)), module
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("eval", "exec"), module
                if ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in map(ast.unparse, node.keywords), f"{module}: torch.load may run code"


def test_no_file_is_called_utils() -> None:
    assert not [path for path in SOURCE.rglob("*.py") if path.stem in ("utils", "util", "helpers", "misc", "common")]


def test_types_ship() -> None:
    assert files("gantrol").joinpath("py.typed").is_file()
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "py.typed" in packaged["gantrol"]
    for package, patterns in packaged.items():
        folder = ROOT / "src" / package.replace(".", "/")
        assert all(any(folder.glob(pattern)) for pattern in patterns), package


def test_the_version_is_the_same_everywhere() -> None:
    assert gantrol.__version__ == PROJECT["version"] == distribution("gantrol").version


def test_public_names_can_be_imported() -> None:
    assert set(gantrol.__all__) <= set(dir(gantrol))
    assert all(getattr(gantrol, name) is not None for name in gantrol.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        gantrol.lod  # noqa: B018


def test_named_extras_exist_and_bring_the_module() -> None:
    """`require_extra(module, extra)` sends the user to an extra of pyproject.toml that has the module's package."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    calls = [
        node
        for path in MODULES.values()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("require_extra")
    ]
    assert calls
    for call in calls:
        module, extra = (ast.literal_eval(argument) for argument in call.args)
        required = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in extras[extra]}
        name = module.split(".")[0].replace("_", "-")
        assert any(package.startswith(name) for package in required), f"extra {extra!r} does not bring {module!r}"


def test_the_extra_all_is_all() -> None:
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    named = set(re.findall(r"[\w-]+", line.partition("[")[2]))
    assert named == set(extras) - {"all"}


def test_pins_are_of_things_we_require() -> None:
    """Every pin of constraints.txt allows what pyproject.toml asks for, and torch is among them."""
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().split()
        if re.fullmatch(r"[\w-]+==[\w.]+", line)
    )
    assert "torch" in pins
    required = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    lowest = dict(re.findall(r"^([\w-]+)[><=~!]=?([\d.]+)", "\n".join(required), re.MULTILINE))
    for name, version in pins.items():
        assert name in lowest, f"constraints.txt pins {name}, which nothing requires"
        as_numbers = [[int(step) for step in text.split(".")] for text in (version, lowest[name])]
        assert as_numbers[0] >= as_numbers[1], f"{name}=={version} is older than what is required"
