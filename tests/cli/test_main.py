"""What every command does alike: exit statuses, errors in one line, nothing left half-written, JSON that parses."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

import gantrol
from gantrol.cli import COMMANDS
from gantrol.data import faces
from gantrol.data.dataset import ImageDataset
from gantrol.data.faces import dataset as faces_dataset
from tests.cli.conftest import Cli, new_run, picture


def everything_in(folder: Path) -> list[str]:
    """All paths in a folder, hidden and nested ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ----------------------------------------------------------------------------------------------------------------------
# Help


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(cli: Cli, arguments: Sequence[str]) -> None:
    result = cli(*arguments)
    assert (result.status, result.err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"{name} " in result.out
        assert command.summary in result.out


@pytest.mark.parametrize("arguments", [["data"], ["data", "--help"]])
def test_a_group_lists_its_own_commands(cli: Cli, arguments: Sequence[str]) -> None:
    result = cli(*arguments)
    assert result.status == 0
    assert "data faces" in result.out
    assert "generate" not in result.out


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"gantrol {gantrol.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, name: str) -> None:
    result = cli(*name.split(), "--help")
    assert (result.status, result.err) == (0, "")
    assert f"Example: gantrol {name}" in " ".join(result.out.split())


# ----------------------------------------------------------------------------------------------------------------------
# Wrong usage: status 2, one line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --presett stylegan3-t",
         "Unrecognized options: --presett, stylegan3-t; did you mean --preset?; see gantrol train --help"),
        ("generate run --bogus", "Unrecognized options: --bogus; see gantrol generate --help"),
        ("train --preset", "Missing value for argument '--preset'"),
        ("data faces --count many --size 32 --out f.zip",
         "Error parsing --count: no type matching INT could be instantiated from ['many']"),
        ("train --precision fp7", "invalid choice 'fp7' for argument '--precision'. Expected one of"),
        ("data info", "Missing from gantrol data info: DATA"),
        ("data faces --count 3 --size 32", "--out"),
    ],
)  # fmt: skip
def test_wrong_usage(cli: Cli, command: str, message: str) -> None:
    result = cli(*command.split())
    assert result.status == 2
    assert message in result.error
    assert "--help" in result.error


# ----------------------------------------------------------------------------------------------------------------------
# Mistakes: status 1, one line that names the thing and what to do

TRAIN = "train --preset stylegan3-t --data {data} --out r "


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean train or spectra?"),
        ("xyzzy", "there is no command 'xyzzy'; known: completion, control, data, demo,"),
        ("--seeds 3", "there is no command '--seeds'"),
        ("data facs", "there is no command 'gantrol data facs'; did you mean faces?"),
        ("train", "--preset is missing; example: gantrol train --preset"),
        ("train --preset stylegan3-t --data {data}", "--out is missing"),
        ("train --preset stylegan3t --data {data} --out r",
         "there is no preset 'stylegan3t'; did you mean stylegan3-t"),
        (TRAIN + "--scale tinny", "there is no scale 'tinny'; did you mean tiny?"),
        (TRAIN + "--loss relativistc", "did you mean relativistic or relativistic-average?"),
        (TRAIN + "generator.chanel_max=8", "'generator.chanel_max'; did you mean channel_max"),
        (TRAIN + "generater.channel_max=8", "did you mean generator"),
        (TRAIN + "loss.r1_gamma=big", "loss.r1_gamma='big': expected float"),
        (TRAIN + "loss.r1_gamma=Infinity", "expected a finite number"),
        (TRAIN + "--batch 0", "batch=0: expected 1 or more"),
        (TRAIN + "--seed -1", "seed=-1: expected 0 or more"),
        (TRAIN + "--kimg nan", "kimg=nan"),
        (TRAIN + "--minutes 0", "--minutes 0: expected a positive number"),
        (TRAIN + "--devices 0", "--devices 0"),
        ("train --preset stylegan3-t --data absent.zip --out r", "absent.zip: does not exist; expected a dataset"),
        (TRAIN + "--use-labels --resume r", "--resume takes its config from the run"),
        ("train --resume absent", "absent holds no run: there is no config.json in it"),
        ("train --resume {data}", "holds no run"),
        ("data faces --count 0 --size 32 --out f.zip", "count 0 is impossible"),
        ("data faces --count 4 --out f.zip", "--size is missing"),
        ("data faces --size 32 --out f.zip", "--count is missing"),
        ("data faces --count 4 --size 32 --style oli --out f.zip", "is not one of its choices; did you mean oil"),
        ("data faces --count 4 --size 32 --channels deep --out f.zip", "unknown channel 'deep'; did you mean depth"),
        ("data faces --count 4 --size 32 --channels depth --out f.png", "--channels are stored in datasets"),
        ("data faces --count 4 --size 32 --captions age --out f.zip", "--captions are printed on pictures"),
        ("data faces --count 4 --size 32 --captions agee --out f.png", "--captions: unknown attribute 'agee'"),
        ("data faces --size 32 --sweep yawn --out f.png", "unknown attribute 'yawn'; did you mean yaw"),
        ("data faces --size 32 --sweep yaw=3 --out f.png", "must be written yaw=FROM:TO"),
        ("data faces --size 32 --sweep hat=cap:brim --out f.png", "must be written hat alone"),
        ("data faces --size 32 --sweep yaw=a:b --out f.png", "not FROM:TO in numbers"),
        ("data faces --size 32 --sweep yaw=-90:90 --out f.png", "out of range"),
        ("data faces --size 32 --sweep yaw --steps 1 --out f.png", "steps 1 is impossible"),
        ("data faces --size 32 --like nothing.zip --out f.png", "nothing.zip: does not exist"),
        ("data faces --size 32 --like {data} --out f.png", "unknown attribute 'index'"),
        ("data faces --size 32 --like {data}:99 --out f.png", "has no image 99, its last is 31"),
        ("data faces --size 32 --like {{ --out f.png", "is not valid JSON"),
        ("data faces --count 4 --size 31 --out f.zip", "size 31 px is impossible: portraits are 32 to 512 px"),
        ("data faces --count 4 --size 513 --out f.zip", "size 513 px is impossible"),
        ("data faces --count 4 --size 32 --workers 0 --out f.zip", "workers 0 is impossible"),
        ("data faces --count 4 --size 32 --set yaww=3 --out f.zip", "unknown attribute 'yaww'; did you mean yaw"),
        ("data faces --count 4 --size 32 --set yaw=900 --out f.zip", "yaw=900"),
        ("data faces --count 4 --size 32 --out {data}", "exists already: choose another name or --overwrite it"),
        ("data import absent --out f.zip", "absent: does not exist"),
        ("data import {data} --out f.zip --size 0", "size 0 px: expected 1 to"),
        ("data info absent.zip", "absent.zip: does not exist"),
        ("generate absent --out o", "no model 'absent': expected a model folder, the folder of a run"),
        ("generate model.pkl --out o", "model.pkl: .pkl files can carry code and are never loaded"),
        ("video absent --out o.mp4", "no model 'absent'"),
        ("evaluate absent", "no model 'absent'"),
        ("info absent", "no model 'absent'"),
        ("presets --json {data}/p.json", "cannot write"),
        ("data info {data} --json {data}/p.json", "cannot write"),
        ("demo --out {data}", "{data}: "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(
    cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dataset.read_bytes()
    result = cli(*command.format(data=dataset).split())
    assert result.status == 1
    assert message.format(data=dataset) in result.error
    assert everything_in(tmp_path) == []
    assert dataset.read_bytes() == before


def test_debug_shows_the_traceback(cli: Cli) -> None:
    result = cli("--debug", "info", "absent")
    assert result.status == 1
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("gantrol: no model 'absent'")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the user can mend becomes one line."""

    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr("gantrol.cli.presets.run", broken)
    with pytest.raises(ZeroDivisionError):
        gantrol.cli.main(["presets"])


# ----------------------------------------------------------------------------------------------------------------------
# Bad datasets


def test_an_empty_folder(cli: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: holds no images" in cli(*new_run(empty, tmp_path / "run")).error
    assert "holds no images" in cli("data", "import", empty, "--out", tmp_path / "f.zip").error
    assert everything_in(tmp_path) == ["empty"]


def test_a_file_that_is_no_zip(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "f.zip").write_text("no zip at all")
    assert "f.zip: not a zip" in cli(*new_run(tmp_path / "f.zip", tmp_path / "run")).error
    assert "f.zip: not a zip" in cli("data", "info", tmp_path / "f.zip").error
    assert everything_in(tmp_path) == ["f.zip"]


def test_images_of_several_sizes(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(7, 32)).save(pictures / "7.png")
    error = cli(*new_run(pictures, tmp_path / "run")).error
    assert "7.png: is 32×32 RGB, but 0.png is 16×16 RGB" in error
    assert "gantrol data import" in error
    assert "--size" in cli("data", "import", pictures, "--out", tmp_path / "f.zip").error
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "f.zip").exists()
    assert cli("data", "import", pictures, "--out", tmp_path / "f.zip", "--size", 16).status == 0
    assert len(ImageDataset(tmp_path / "f.zip")) == 10


def test_a_corrupt_image_is_named_or_left_out_and_counted(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    damaged = pictures / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    run, out = tmp_path / "run", tmp_path / "f.zip"
    for arguments, remedy in (
        (new_run(pictures, run), "--skip-bad"),
        (["data", "import", pictures, "--out", out, "--strict"], "without --strict"),
    ):
        error = cli(*arguments).error
        assert "3.png: damaged image" in error
        assert remedy in error
    assert not run.exists()  # so that the same command with --skip-bad works
    assert not out.exists()

    result = cli(*new_run(pictures, run, "--skip-bad", "--kimg", 0.008))
    assert result.status == 0
    assert "damaged images left out: 1, the first: " in result.err
    assert "3.png" in result.err
    result = cli("data", "import", pictures, "--out", out, "--json", tmp_path / "import.json")
    assert result.status == 0
    assert "9 images" in result.out
    assert "1 file could not be read" in result.out
    told = json.loads((tmp_path / "import.json").read_text())
    assert (told["out"], told["count"], told["skipped"][0]["name"]) == (str(out), 9, "3.png")
    result = cli("data", "info", pictures, "--skip-bad", "--json", tmp_path / "i.json")
    assert json.loads((tmp_path / "i.json").read_text())["skipped"][0]["name"] == "3.png"


def test_labels_that_disagree_with_the_images(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (pictures / "dataset.json").write_text(json.dumps({"labels": [["0.png", 1], ["absent.png", 0]]}))
    error = cli(*new_run(pictures, tmp_path / "run", "--use-labels")).error
    assert "dataset.json" in error
    assert not (tmp_path / "run").exists()


def test_labels_that_are_not_there(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    assert "has no labels" in cli(*new_run(pictures, tmp_path / "run", "--use-labels")).error


# ----------------------------------------------------------------------------------------------------------------------
# Folders and disks


def test_an_existing_run_is_not_overwritten(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli(*new_run(dataset, run, "--kimg", 0.008)).status == 0
    before = everything_in(run)
    assert f"{run} already holds a run: continue it with --resume {run}" in cli(*new_run(dataset, run)).error
    assert everything_in(run) == before


def test_a_run_that_does_not_fit_its_data_leaves_what_was_there(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    wrong = ["generator.resolution_px=32", "discriminator.resolution_px=32"]
    assert "has 16 px" in cli(*new_run(dataset, run, *wrong)).error
    assert everything_in(run) == ["notes.txt"]


def test_a_run_whose_checkpoints_are_all_damaged(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli(*new_run(dataset, run, "--kimg", 0.008)).status == 0
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    for arguments in (["train", "--resume", run], ["generate", run, "--out", tmp_path / "o"], ["info", run]):
        assert "no intact checkpoint" in cli(*arguments).error
    assert not (tmp_path / "o").exists()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reaches the disk any more."""

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize(
    "command",
    [
        "data faces --count 2 --size 32 --workers 1 --out f.zip",
        "data import {data} --out f.zip",
        "data info {data} --json i.json",
        "presets --json p.json",
    ],
)
def test_a_full_disk(cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the disk is full; free some space" in cli(*command.format(data=dataset).split()).err
    assert [name for name in everything_in(tmp_path) if not name.startswith(".f.zip")] == []


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_before_the_training(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    assert "the disk is full" in cli(*new_run(dataset, tmp_path / "run")).error
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for arguments in (
            new_run(dataset, tmp_path / "run"),
            ["data", "import", dataset, "--out", tmp_path / "f.zip"],
            ["presets", "--json", tmp_path / "p.json"],
        ):
            assert "ermission" in cli(*arguments).err
        assert everything_in(tmp_path) == []
    finally:
        tmp_path.chmod(0o700)


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


def interrupt(*_: Any, **__: Any) -> NoReturn:
    raise KeyboardInterrupt


def test_ctrl_c_keeps_the_finished_portraits_aside(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = faces_dataset._portrait

    def fourth_is_interrupted(rows: Any, index: int, *arguments: Any) -> Any:
        return original(rows, index, *arguments) if index < 3 else interrupt()

    command = ["data", "faces", "--count", 8, "--size", 32, "--workers", 1, "--out", tmp_path / "f.zip"]
    with monkeypatch.context() as patched:
        patched.setattr(faces_dataset, "_portrait", fourth_is_interrupted)
        result = cli(*command)
    assert result.status == 130
    assert result.error.startswith("interrupted; the same command continues")
    (kept,) = everything_in(tmp_path)
    assert Path(kept).name.startswith(".f.zip.")
    assert cli(*command).status == 0
    assert len(everything_in(tmp_path)) == 1


@pytest.mark.parametrize("place", ["gantrol.train.loop.save_reals", "gantrol.train.loop.TrainState", "os.fsync"])
def test_ctrl_c_before_the_first_checkpoint_leaves_no_run(
    cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(place, interrupt)
    assert cli(*new_run(dataset, tmp_path / "run")).status == 130
    assert not list(tmp_path.rglob("*.*"))


def test_ctrl_c_while_importing_keeps_the_older_file(
    cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.zip"
    out.write_bytes(b"older")
    monkeypatch.setattr(os, "fsync", interrupt)
    assert cli("data", "import", dataset, "--out", out, "--overwrite").status == 130
    assert out.read_bytes() == b"older"
    assert everything_in(tmp_path) == ["f.zip"]


# ----------------------------------------------------------------------------------------------------------------------
# Numbers as JSON


def test_presets_as_json(cli: Cli, tmp_path: Path) -> None:
    result = cli("presets", "--json", tmp_path / "p.json")
    assert result.status == 0
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["gantrol_version"] == gantrol.__version__
    assert {"stylegan2", "stylegan3-t", "stylegan3-r"} <= content["presets"].keys()
    assert content["scales"].keys() == {"tiny", "small", "base", "paper"}
    for name in (*content["presets"], *content["scales"]):
        assert name in result.out


def test_data_info_as_json(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    assert cli("data", "info", dataset, "--json", tmp_path / "i.json").status == 0
    content = json.loads((tmp_path / "i.json").read_text())
    assert (content["images"], content["resolution_px"], content["channels"]) == (32, 16, 3)
    assert content["labels"] == {"kind": "class", "dim": 2, "class_counts": {"0": 16, "1": 16}}
    assert content["attributes"]["index"]["max"] == 31


def test_rendered_portraits_are_what_was_asked_for(cli: Cli, tmp_path: Path) -> None:
    """The same seed gives the same bytes; --set holds for every image; the labels are in the zip."""
    common = ["data", "faces", "--count", 3, "--size", 32, "--workers", 1, "--set", "yaw=20"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = cli(*common, "--seed", seed, "--out", tmp_path / f"{name}.zip")
        assert result.status == 0
        assert "3 portraits of 32×32 px" in result.out
    a, b, c = (tmp_path.joinpath(f"{name}.zip").read_bytes() for name in "abc")
    assert a == b != c
    made = ImageDataset(tmp_path / "a.zip")
    assert all(made.attributes(index)["yaw"] == 20 for index in range(3))
    assert set(faces.ATTRIBUTES) == set(made.attributes(0))


def test_a_row_is_rendered_again_with_something_changed(cli: Cli, tmp_path: Path) -> None:
    first, turned, one = tmp_path / "a.zip", tmp_path / "b.zip", tmp_path / "c.zip"
    assert cli("data", "faces", "--count", 3, "--size", 32, "--workers", 1, "--out", first).status == 0
    common = ["data", "faces", "--workers", 1, "--set", "yaw=30"]
    assert cli(*common, "--like", first, "--out", turned).status == 0
    assert cli(*common, "--like", f"{first}:1", "--out", one).status == 0
    before, after = ImageDataset(first), ImageDataset(turned)
    for index in range(3):
        assert after.attributes(index) == before.attributes(index) | {"yaw": 30}
    assert (ImageDataset(one).pixels(0) == after.pixels(1)).all()
    row = tmp_path / "row.json"
    row.write_text(json.dumps(before.attributes(1)))
    again = tmp_path / "d.zip"
    assert cli(*common, "--like", row, "--size", 32, "--out", again).status == 0
    assert again.read_bytes() == one.read_bytes()


def test_sweeps_and_sheets_are_pictures(cli: Cli, tmp_path: Path) -> None:
    common = ["data", "faces", "--size", 32, "--workers", 1]
    out = tmp_path / "sweep.png"
    assert cli(*common, "--sweep", "yaw=-20:20", "--steps", 3, "--count", 2, "--out", out).status == 0
    assert width_px(out) == 3 * 36 - 4
    swept = tmp_path / "sweep.zip"
    assert cli(*common, "--sweep", "smile=0:1", "--steps", 3, "--out", swept).status == 0
    made = ImageDataset(swept)
    assert [made.attributes(index)["smile"] for index in range(3)] == [0, 0.5, 1]
    plain = [{name: v for name, v in made.attributes(index).items() if name != "smile"} for index in range(3)]
    assert plain[0] == plain[1] == plain[2]
    sheet = tmp_path / "sheet.webp"
    assert cli(*common, "--count", 4, "--captions", "age", "beard", "--out", sheet).status == 0
    assert width_px(sheet) == 2 * 36 - 4


def width_px(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_channels_and_styles_are_stored(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "f.zip"
    result = cli("data", "faces", "--count", 2, "--size", 32, "--workers", 1, "--channels", "depth", "segmentation",
                 "--style", "oil,ink", "--align", "--out", out)  # fmt: skip
    assert result.status == 0
    made = ImageDataset(out)
    assert set(made.attachment(1)) == {"depth", "segmentation"}
    assert made.attachment(1)["depth"].shape == (32, 32)
    for index in range(2):
        assert made.attributes(index)["style"] in ("oil", "ink")
        assert made.attributes(index)["framing"] == "aligned"
