"""Training: configs and presets, losses, augmentation, steps, state, loop.

    config = preset("stylegan3-t", "tiny", DataShape(resolution_px=32))

`loop.train` runs it in a folder that `run.create_run` made; `gantrol train` does both.
"""

from gantrol.train.augment import AugmentConfig
from gantrol.train.config import AdamConfig, LossConfig, TrainConfig
from gantrol.train.presets import PRESETS, SCALES, DataShape, preset

__all__ = ["PRESETS", "SCALES", "AdamConfig", "AugmentConfig", "DataShape", "LossConfig", "TrainConfig", "preset"]
