"""ESR-9: the expression of a face, as the votes of nine networks that share their first layers (Siqueira et al. 2020).

GAN-Control's distance of expressions is the mean absolute difference of all 9 × 8 logits; its reading is the class with
most votes. Names of parameters are those of the ten public files.

N images · C channels · H W pixels · B = 9 branches · K = 8 classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.preprocess import centre_crop, resize, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

SOURCE = "siqueira-hc/Efficient-Facial-Feature-Learning-with-Wide-Ensemble-based-Convolutional-Neural-Networks"
LICENCE = "MIT"
BASE_FILE = "Net-Base-Shared_Representations.pt"
BRANCH_FILE = "Net-Branch_{}.pt"
WEIGHTS = WeightFile(
    file=f"folder esr_9 ({BASE_FILE} and {BRANCH_FILE.format(1)} to {BRANCH_FILE.format(9)})",
    source=SOURCE,
    licence=LICENCE,
)

SIDE = 96
"""Pixels of the network's input."""
BRANCHES = 9
CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")


class FourConvolutions(nn.Module):
    """Four convolutions with bias, each followed by batch normalisation and ReLU, and maximum pooling after some.

    Args:
        channels: of the input and of each convolution, 5 numbers.
        kernels: of each convolution.
        paddings: of each convolution.
        pooled: convolutions, from 1, after which the size is halved (rounded down).
    """

    def __init__(
        self, channels: Sequence[int], kernels: Sequence[int], paddings: Sequence[int], pooled: Sequence[int]
    ) -> None:
        super().__init__()
        self.pooled = tuple(pooled)
        for i in range(4):
            convolution = nn.Conv2d(channels[i], channels[i + 1], kernels[i], padding=paddings[i])
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C′, H′, W′]."""
        for i in range(1, 5):
            x = self.get_submodule(f"conv{i}")(x)
            x = torch.relu(self.get_submodule(f"bn{i}")(x))
            if i in self.pooled:
                x = F.max_pool2d(x, 2)
        return x


class Branch(FourConvolutions):
    """One of the nine voters: shared map to logits."""

    def __init__(self) -> None:
        super().__init__((128, 128, 256, 256, 512), kernels=(3, 3, 3, 3), paddings=(0, 0, 0, 1), pooled=(2,))
        self.fc = nn.Linear(512, len(CLASSES))
        self.fc_dimensional = nn.Linear(len(CLASSES), 2)  # valence and arousal: in the file, used by nobody here

    def forward(self, x: Tensor) -> Tensor:
        """[N, 128, 20, 20] → logits [N, 8]."""
        return self.fc(super().forward(x).mean((2, 3)))


class ESR9(Predictor):
    """Expression of a face: shares of nine votes for eight classes.

    Args:
        crop: side of the part in the middle of a 512-pixel image that is looked at (the same share at other sizes);
            None: the whole image.
    """

    attributes: Mapping[str, Attribute] = {
        "expression": Attribute(
            unit="share of votes",
            components=CLASSES,
            low=(0.0,) * len(CLASSES),
            high=(1.0,) * len(CLASSES),
            help="how many of nine networks see each expression; the shares add up to 1",
        )
    }

    def __init__(self, *, crop: int | None = 480) -> None:
        super().__init__()
        self.crop = crop
        self.base = FourConvolutions((3, 64, 128, 128, 128), kernels=(5, 3, 3, 3), paddings=(0,) * 4, pooled=(2, 4))
        self.convolutional_branches = nn.ModuleList(Branch() for _ in range(BRANCHES))
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, *, crop: int | None = 480) -> ESR9:
        """The network with the weights of the folder `esr_9`, or of one file with all of them.

        Args:
            path: a folder with the ten public files, or a file that holds this class's state dict.
            crop: as of the class.

        Raises:
            CheckpointError: a file is missing, damaged, or holds another network.
        """
        path = Path(path)
        if not path.is_dir():
            tensors = load_weights(path, WEIGHTS)
            predictor = cls(crop=crop)
            load_strictly(predictor, tensors, path)
            return predictor
        predictor = cls(crop=crop)
        parts: dict[str, nn.Module] = {BASE_FILE: predictor.base}
        parts |= {BRANCH_FILE.format(i): part for i, part in enumerate(predictor.convolutional_branches, start=1)}
        for file, part in parts.items():
            described = WeightFile(file=file, source=SOURCE, licence=LICENCE)
            load_strictly(part, load_weights(path / file, described), path / file)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 96, 96] in [0, 1]: centre crop, then bilinear."""
        if self.crop is not None:
            images = centre_crop(images, self.crop)
        return to_unit(resize(images, SIDE))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"expression": logits [N, 9, 8]} of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        shared = self.base(self.prepare(images))  # [N, 128, 20, 20]
        return {"expression": torch.stack([branch(shared) for branch in self.convolutional_branches], 1)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean absolute difference of logits, [N, 9, 8] and [N, 9, 8] → [N]."""
        return mean_absolute(a, b)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Share of the nine votes for each class: logits [N, 9, 8] → [N, 8].

        Votes are counts and have no gradient; backwards, the mean of the branches' softmax stands for them.
        """
        soft = self.soft_votes(features)
        return soft + (self.votes(features) / BRANCHES - soft).detach()

    @staticmethod
    def votes(logits: Tensor) -> Tensor:
        """How many branches find each class the likeliest: [N, 9, 8] → int64 [N, 8], which add up to 9."""
        return F.one_hot(logits.argmax(2), logits.shape[2]).sum(1)

    @staticmethod
    def soft_votes(logits: Tensor) -> Tensor:
        """Mean over the branches of the softmax of their logits: [N, 9, 8] → [N, 8], differentiable, adds up to 1."""
        return logits.softmax(2).mean(1)

    @classmethod
    def classes(cls, logits: Tensor) -> Tensor:
        """Index in `CLASSES` of the class with most votes, the first of equals: [N, 9, 8] → int64 [N]."""
        return cls.votes(logits).argmax(1)
