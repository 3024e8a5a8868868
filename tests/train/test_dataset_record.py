"""A run knows its dataset again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gantrol.data import DatasetWriter
from gantrol.errors import CheckpointError, DataError
from gantrol.train.config import TrainConfig
from tests.train.test_training import run


def test_a_run_is_not_resumed_with_another_dataset(config: TrainConfig, dataset_path: Path, tmp_path: Path) -> None:
    data, folder = Path(shutil.copyfile(dataset_path, tmp_path / "discs.zip")), tmp_path / "run"
    config = replace(config, data=str(data), kimg=0.016, tick_kimg=0.008)
    run(config, folder)
    record = json.loads((folder / "data.json").read_text())
    assert (record["path"], record["images"]) == (str(data), 48)
    longer = replace(config, kimg=0.024)
    for count, how in ((48, "holds other files"), (3, "has 3 images instead of 48")):
        with DatasetWriter(data, overwrite=True) as writer:
            for level in range(count):
                writer.add(np.full((16, 16, 3), level, dtype=np.uint8))
        with pytest.raises(DataError, match=rf"discs\.zip: {how}: it has changed since .*run was begun") as caught:
            run(longer, folder, is_resumed=True)
        assert "\n" not in str(caught.value)
    shutil.copyfile(dataset_path, data)  # a zip is known by its content, not by its time
    os.utime(data, (1, 1))
    run(longer, folder, is_resumed=True)
    (folder / "data.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"cannot read .*data\.json"):
        run(replace(config, kimg=0.032), folder, is_resumed=True)
    (folder / "data.json").unlink()  # runs of older versions have none
    run(replace(config, kimg=0.032), folder, is_resumed=True)
