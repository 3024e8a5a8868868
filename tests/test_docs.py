"""The documentation against the program: commands parse at full size, links and names lead somewhere.

That its code blocks run is the matter of tests/documentation.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tyro

from gantrol.cli import COMMANDS
from tests.documentation.pages import PAGES, ROOT, Fence, fences, prose

FENCES = list(fences())
PYTHON = [fence for fence in FENCES if fence.language == "python"]
COMMAND_LINES = [
    pytest.param(words, id=f"{fence.where} {shlex.join(words)[:60]}")
    for fence in FENCES
    if fence.language in ("bash", "sh", "console", "")
    for words in fence.commands()
]


# ---------------------------------------------------------------------------------------------------------------------
# Commands


def _options(arguments: list[str]) -> tuple[str, Any]:
    """(command, its parsed options), without running it: what `gantrol.cli` would do."""
    name = arguments[0]
    if name not in COMMANDS:
        name, arguments = " ".join(arguments[:2]), arguments[1:]
    assert name in COMMANDS, f"there is no command {name!r}"
    command = COMMANDS[name]
    module = importlib.import_module(f"gantrol.cli.{command.module}")
    arrange = getattr(module, "arrange", list)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            return name, tyro.cli(getattr(module, command.options), args=arrange(arguments[1:]))
    except SystemExit:
        pytest.fail(f"gantrol {shlex.join(arguments)} does not parse: {errors.getvalue()}")


RECONSTRUCTION = "control.reconstruction."


def _check_values(name: str, options: Any) -> None:
    """Values that the parser leaves as text: presets, fields, attributes, seeds, names of metrics."""
    if name == "train" and options.resume is None:
        from gantrol.config import override
        from gantrol.train.presets import DataShape, preset

        assert options.data is not None
        assert options.out is not None
        assert options.preset or options.init
        shape = DataShape(resolution_px=32)
        config = preset(options.preset or "stylegan3-t", options.scale or "base", shape)
        if options.control is not None:
            from gantrol.control.calibration import Thresholds
            from gantrol.train.control import ReconstructionConfig, attribute_names, controllable

            thresholds = dict.fromkeys(attribute_names(options.control), Thresholds(same=0.1, different=0.9))
            config = controllable(config, thresholds, predictors="portraits", predictors_sha256="")
            if options.anchors:  # they come from the data; without them reconstruction has nothing to draw
                assert override(
                    ReconstructionConfig(),
                    [o.removeprefix(RECONSTRUCTION) for o in options.overrides if o.startswith(RECONSTRUCTION)],
                )
        override(config, [o for o in options.overrides if not (options.control and o.startswith(RECONSTRUCTION))])
    elif name == "data faces":
        from gantrol.data.faces.channels import check_channels
        from gantrol.data.faces.counterfactual import parse_sweep
        from gantrol.data.faces.labels import ATTRIBUTES, parse_assignments
        from gantrol.data.faces.render import MAX_SIZE_PX, MIN_SIZE_PX

        parse_assignments(options.set)
        check_channels(options.channels)
        assert set(options.captions) <= set(ATTRIBUTES)
        assert options.sweep is None or parse_sweep(options.sweep)
        assert options.like or MIN_SIZE_PX <= options.size <= MAX_SIZE_PX
    elif name == "data avatars":
        from gantrol.data.avatars.labels import check_styles, parse_assignments

        check_styles(options.styles and options.styles.split(","))
        parse_assignments(options.set)
    elif name == "generate":
        from gantrol.cli.generate import parse_pair
        from gantrol.sample import parse_seeds

        parse_seeds(options.seeds)
        parse_pair(options.translate)
        assert options.out or options.grid
    elif name == "video":
        from gantrol.cli.video import check, film_seeds, frame_count

        check(options)
        film_seeds(options)
        frame_count(options, legs=1)
    elif name == "mix":
        from gantrol.mixing import parse_layers
        from gantrol.sample import parse_seeds

        parse_seeds(options.rows)
        parse_seeds(options.cols)
        assert options.layers is None or parse_layers(options.layers, 16)
    elif name == "evaluate":
        from gantrol.metrics.evaluate import check_request

        check_request(options.metrics.split(","), options.features, options.samples, options.batch)


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_commands_are_real(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[0] == "gantrol" and words[1:] != ["--version"]:
        _check_values(*_options(words[1:]))
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        subcommand = [word for word in words[3:4] if not word.startswith("-")]
        with pytest.raises(SystemExit) as end:
            importlib.import_module(words[2]).main([*subcommand, "--help"])
        assert end.value.code == 0
    elif words[0] == "torchrun":
        module = words.index("-m") + 1
        assert words[module] == "gantrol"
        _check_values(*_options(words[module + 1 :]))
    else:
        assert words[0] in ("gantrol", "pip", "python3", ".", "export", "cd"), f"what is {words[0]}?"


def test_commands_in_the_text_are_real() -> None:
    """`gantrol …` in running text names a command, as far as it is written out."""
    for page in PAGES:
        for text in re.findall(r"`gantrol ([^`]+)`", prose(page)):
            words = text.split()
            if words[0].startswith("--") or words[0] == "COMMAND":
                continue
            known = any(command.split() == words[: len(command.split())] for command in COMMANDS)
            groups = {command.split()[0] for command in COMMANDS if " " in command}
            assert known or (words[0] in groups and "|" in words[1]), f"{page.name}: gantrol {text}"


def test_every_command_is_in_the_documentation() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [command for command in COMMANDS if f"gantrol {command}" not in text] == []


# ---------------------------------------------------------------------------------------------------------------------
# Python


@pytest.mark.parametrize("fence", PYTHON, ids=lambda fence: fence.where)
def test_python_compiles(fence: Fence) -> None:
    compile(fence.code, fence.where, "exec")


# ---------------------------------------------------------------------------------------------------------------------
# Links, names, tables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path).resolve()
        if found.parent == ROOT / "docs" / "images":  # made by a training, checked by Sphinx
            continue
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(found), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_tests_and_functions_exist(page: Path) -> None:
    text = prose(page)
    for file, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (ROOT / file).exists(), f"{page.name}: {file}"
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), f"{page.name}: {file}::{test}"
    for file in re.findall(r"`((?:src|docs|scripts|tests)/[\w/.]+)`", text):
        assert (ROOT / file).exists(), f"{page.name}: {file}"
    for name in re.findall(r"`(gantrol(?:\.\w+)+)`", text):
        _resolve(name)


def _resolve(name: str) -> Any:
    """What a dotted name stands for; fails if there is no such thing."""
    parts = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], start=1):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = importlib.import_module(".".join(parts[: depth + 1]))
        else:
            found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_current(page: Path) -> None:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->")
    assert tables.renew(text) == text, f"{page.name} is out of date: run .venv/bin/python docs/tables.py"


SELF_DESCRIBED = (
    *("cli", "faces", "styles", "avatars", "sources", "augment", "convert", "control", "predictors"),
    *("kernels", "metrics", "networks", "report", "export", "inside", "studio"),
)
"""Packages whose __init__.py says which module does what; the tree in the README names the folder alone."""


def test_layout_in_the_readme_is_true() -> None:
    """Every entry of the tree exists, and every module of the package's top level and its folders is there."""
    (tree,) = (fence.code for fence in FENCES if fence.page.name == "README.md" and fence.language == "text")
    named: set[Path] = set()
    folders: list[Path] = [ROOT]
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = folders[depth] / line.split()[0]
        assert path.exists(), f"README.md: {path.relative_to(ROOT)} does not exist"
        named.add(path)
        del folders[depth + 1 :]
        folders.append(path)
    text = tree.replace(",", " ").split()
    package = ROOT / "src" / "gantrol"
    for module in package.rglob("*.py"):
        if module.name != "__init__.py" and module.parent.name not in SELF_DESCRIBED:
            assert module in named or module.name in text or f"{module.name}:" in text, f"README.md lacks {module}"


def test_the_api_page_names_what_is_public() -> None:
    """Functions and classes in `__all__` of the packages are on the page; values, aliases and packages need not be."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\.\. auto(?:function|class):: (\w+)", page))
    for package in ("", ".ops", ".models", ".data", ".data.faces", ".metrics", ".export"):
        module = importlib.import_module(f"gantrol{package}")
        for name in module.__all__:
            value = getattr(module, name)
            is_public = getattr(value, "__name__", "") == name and not isinstance(value, ModuleType)
            assert not is_public or name in listed, f"docs/api.md lacks {module.__name__}.{name}"


SYSTEMS = ("stylegan2.md", "stylegan3.md", "transgan.md", "gan-control.md")
"""Pages that set functions beside the equations of a paper."""


@pytest.mark.parametrize("page", SYSTEMS)
def test_what_stands_beside_an_equation_is_on_the_api_page(page: str) -> None:
    """docs/conf.py makes links of names like `gantrol.models.transgan.smooth`, if the API page documents the object."""
    module = ""
    documented = []
    for kind, name in re.findall(
        r"^\.\. (currentmodule|autofunction|autoclass|autodata|automodule):: (\S+)",
        (ROOT / "docs" / "api.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    ):
        if kind == "currentmodule":
            module = name
        elif kind != "automodule":
            documented.append(_resolve(f"{module}.{name}"))
    for name in set(re.findall(r"`(gantrol(?:\.\w+)+)`", prose(ROOT / "docs" / page))):
        found = _resolve(name)
        if isinstance(found, type) or callable(found):
            owner = _resolve(name.rpartition(".")[0])
            candidates = [found, owner] if isinstance(owner, type) else [found]
            assert any(thing is entry for thing in candidates for entry in documented), f"{page}: {name}"
