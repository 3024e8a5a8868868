"""Shell completion: every command and option is known, and bash, zsh and fish take the scripts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gantrol.cli import COMMANDS
from gantrol.cli.arguments import arguments_of, options_of
from gantrol.cli.completion_scripts import SCRIPTS, values_of
from gantrol.metrics.evaluation_request import METRICS
from gantrol.train.presets import PRESETS
from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The script of each shell in a file."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, make in SCRIPTS.items():
        (folder / shell).write_text(make())
    return {shell: folder / shell for shell in SCRIPTS}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_command_and_option_is_known(scripts: dict[str, Path], shell: str) -> None:
    text = scripts[shell].read_text()
    for name in COMMANDS:
        assert name in text
        for argument in arguments_of(options_of(name)):
            if not argument.is_positional and not argument.is_flag:
                written = f"-l {argument.name[2:]} " if shell == "fish" else argument.name
                assert written in text, f"{name} {argument.name}"
    assert "@" not in text.replace('"$@"', "").replace("${@", "")  # nothing of the template is left


def test_values_are_those_that_exist() -> None:
    train = values_of("train", arguments_of(options_of("train")))
    assert train["--preset"].words == tuple(PRESETS)
    assert train["--augment"].words == ("none", "ada", "diffaugment")
    assert "--x-flip" not in train  # takes no value
    evaluate = values_of("evaluate", arguments_of(options_of("evaluate")))
    assert evaluate["--metrics"][:2] == ("list", METRICS)
    generate = values_of("generate", arguments_of(options_of("generate")))
    assert generate["-"] == ("models", ("faces",), False)
    assert {"age", "yaw", "azimuth", "smile"} <= set(generate["--set"].words)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gantrol t", "train"),
        ("gantrol data |", "faces avatars import info"),
        ("gantrol control f", "fit"),
        ("gantrol generate --tr", "--truncation --truncation-cutoff --translate"),
        ("gantrol generate fa", "faces"),
        ("gantrol generate faces --format |", "png webp jpg"),
        ("gantrol generate faces --format = w", "webp"),
        ("gantrol generate faces --set y", "yaw="),
        ("gantrol generate faces --set yaw = 3 a", "age= azimuth= angry="),
        ("gantrol generate faces --set yaw =", ""),
        ("gantrol train --preset stylegan3", "stylegan3-t stylegan3-r"),
        ("gantrol train --x-flip --scale ti", "tiny"),
        ("gantrol train --augment ada sty", ""),  # the option has its value
        ("gantrol evaluate run --metrics fid,k", "fid,kid"),
        ("gantrol completion |", "bash zsh fish"),
        ("gantrol nonsense --|", ""),
        ("gantrol info my", "my file.zip"),
    ],
)
def test_bash_completes(scripts: dict[str, Path], tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "my file.zip").touch()
    words = line.replace("|", "").split(" ")
    code = (
        f'source "{scripts["bash"]}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gantrol; echo "${{COMPREPLY[*]}}"; '
        "complete -p gantrol"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", *words], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    offered, registered = done.stdout.splitlines()
    assert (offered.strip(), done.stderr) == (expected, "")
    assert registered == "complete -F _gantrol gantrol"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_it(scripts: dict[str, Path], shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    subprocess.run([shell, "-n", scripts[shell]], check=True, timeout=60)


def test_the_command_prints_or_writes_it(cli: Cli, scripts: dict[str, Path], tmp_path: Path) -> None:
    result = cli("completion", "bash")
    assert result.status == 0
    assert result.out == scripts["bash"].read_text()
    assert cli("completion", "fish", "--out", tmp_path / "gantrol.fish").status == 0
    assert (tmp_path / "gantrol.fish").read_text() == scripts["fish"].read_text()
    assert "invalid choice 'tcsh'" in cli("completion", "tcsh").error
