"""The Inception network of the FID: that of TensorFlow's release of 2015-12-05, weights from a file.

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision", with the differences that this release
has from later ones: average pools divide by the pixels under them rather than by 9, the last block pools by maximum,
and batch normalisation adds 0.001 to the variance. Module names are those of the published PyTorch conversion, which
follow torchvision's.

n images of a chunk · C channels · H W pixels · D = 2048 features · K = 1008 classes (1000 of ImageNet, 8 unused).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.weights import load_strictly, load_weights
from gantrol.errors import CheckpointError
from gantrol.metrics.features import Observation, Progress
from gantrol.metrics.networks.folding import fold
from gantrol.metrics.networks.in_chunks import ChunkedNetwork
from gantrol.metrics.networks.tf1_resize import resize_tf1
from gantrol.metrics.networks.weight_files import PublishedFile, sha256_of

WEIGHTS = PublishedFile(
    file="pt_inception-2015-12-05-6726825d.pth",
    source="mseitzer/pytorch-fid on GitHub",
    licence="Apache-2.0",
    variable="GANTROL_INCEPTION",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
    max_bytes=128 << 20,
    instead="the features efficientnet-lite0, which need no download",
)

_BN_EPS = 1e-3


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU: [n, C, H, W] → [n, C′, H′, W′]."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (height // 2, width // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride=stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=_BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


def average(x: Tensor) -> Tensor:
    """The mean of each pixel's 3×3 neighbourhood, as far as it lies within the image."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def halve(x: Tensor) -> Tensor:
    """The largest of 3×3 pixels at every second place; nothing is padded."""
    return F.max_pool2d(x, 3, stride=2)


class InceptionA(nn.Module):
    """Mixed_5b to 5d, 35×35: [n, C, H, W] → [n, 224 + `pooled`, H, W]."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBlock(inputs, 64, 1)
        self.branch5x5_1 = ConvBlock(inputs, 48, 1)
        self.branch5x5_2 = ConvBlock(48, 64, 5)
        self.branch3x3dbl_1 = ConvBlock(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvBlock(64, 96, 3)
        self.branch3x3dbl_3 = ConvBlock(96, 96, 3)
        self.branch_pool = ConvBlock(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                self.branch_pool(average(x)),
            ],
            dim=1,
        )


class InceptionB(nn.Module):
    """Mixed_6a, 35×35 to 17×17: [n, 288, H, W] → [n, 768, H′, W′]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = ConvBlock(inputs, 384, 3, stride=2, pad=False)
        self.branch3x3dbl_1 = ConvBlock(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvBlock(64, 96, 3)
        self.branch3x3dbl_3 = ConvBlock(96, 96, 3, stride=2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, halve(x)], dim=1)


class InceptionC(nn.Module):
    """Mixed_6b to 6e, 17×17: [n, 768, H, W] → the same shape; 7×7 in steps of 1×7 and 7×1 with `width` channels."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBlock(inputs, 192, 1)
        self.branch7x7_1 = ConvBlock(inputs, width, 1)
        self.branch7x7_2 = ConvBlock(width, width, (1, 7))
        self.branch7x7_3 = ConvBlock(width, 192, (7, 1))
        self.branch7x7dbl_1 = ConvBlock(inputs, width, 1)
        self.branch7x7dbl_2 = ConvBlock(width, width, (7, 1))
        self.branch7x7dbl_3 = ConvBlock(width, width, (1, 7))
        self.branch7x7dbl_4 = ConvBlock(width, width, (7, 1))
        self.branch7x7dbl_5 = ConvBlock(width, 192, (1, 7))
        self.branch_pool = ConvBlock(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
                self.branch_pool(average(x)),
            ],
            dim=1,
        )


class InceptionD(nn.Module):
    """Mixed_7a, 17×17 to 8×8: [n, 768, H, W] → [n, 1280, H′, W′]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvBlock(inputs, 192, 1)
        self.branch3x3_2 = ConvBlock(192, 320, 3, stride=2, pad=False)
        self.branch7x7x3_1 = ConvBlock(inputs, 192, 1)
        self.branch7x7x3_2 = ConvBlock(192, 192, (1, 7))
        self.branch7x7x3_3 = ConvBlock(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvBlock(192, 192, 3, stride=2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(seven), halve(x)], dim=1)


class InceptionE(nn.Module):
    """Mixed_7b and 7c, 8×8: [n, C, H, W] → [n, 2048, H, W]; the second one pools by maximum."""

    def __init__(self, inputs: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.branch1x1 = ConvBlock(inputs, 320, 1)
        self.branch3x3_1 = ConvBlock(inputs, 384, 1)
        self.branch3x3_2a = ConvBlock(384, 384, (1, 3))
        self.branch3x3_2b = ConvBlock(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvBlock(inputs, 448, 1)
        self.branch3x3dbl_2 = ConvBlock(448, 384, 3)
        self.branch3x3dbl_3a = ConvBlock(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvBlock(384, 384, (3, 1))
        self.branch_pool = ConvBlock(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.is_last else average(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            dim=1,
        )


class InceptionV3(nn.Module):
    """The network itself, 23,850,960 parameters: [n, 3, 299, 299] in [−1, 1] → features [n, 2048].

    `fc` holds the classes, [1008, 2048] and a bias.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvBlock(3, 32, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = ConvBlock(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvBlock(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvBlock(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvBlock(80, 192, 3, pad=False)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280, is_last=False)
        self.Mixed_7c = InceptionE(2048, is_last=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))  # [n, 32, 147, 147]
        x = halve(self.Conv2d_2b_3x3(x))  # [n, 64, 73, 73]
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))  # [n, 192, 35, 35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [n, 288, 35, 35]
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # [n, 768, 17, 17]
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))  # [n, 1280, 8, 8]
        x = self.Mixed_7c(self.Mixed_7b(x))  # [n, 2048, 8, 8]
        return x.mean(dim=(2, 3))


class Inception(ChunkedNetwork):
    """The features of FID and KID, and the probabilities of the Inception score.

    Grey images are repeated to RGB; images are resized to 299 px as TensorFlow 1 does and brought to (x − 128)/128. The
    probabilities are the softmax of the 1008 classes without their bias, as the published score has them.

    Args:
        path: a file of weights with the names of `WEIGHTS`: as `torch.save` wrote them, or safetensors.

    Raises:
        CheckpointError: the file is missing, damaged, or holds another network.
    """

    title = "Inception-v3 2015-12-05"
    resampling = "bilinear, top-left aligned (TensorFlow 1), to 299 px"
    num_features = 2048
    num_classes = 1008
    is_official = True

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        _refuse_program(Path(path))
        tensors = load_weights(path, WEIGHTS)
        with torch.device("meta"):  # else 24 million numbers are drawn, only to be overwritten
            network = InceptionV3()
        network = network.to_empty(device="cpu")
        load_strictly(network, tensors, path)
        network.eval().requires_grad_(False)
        for block in network.modules():
            if isinstance(block, ConvBlock):
                assert isinstance(block.bn, nn.BatchNorm2d)
                fold(block.conv, block.bn)
                block.bn = nn.Identity()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.version = f"inception-2015-12-05, sha256 {sha256_of(Path(path))[:16]}, 299 px, TF1 bilinear, 1"

    def _observe(self, images: Tensor) -> Observation:
        x = (resize_tf1(images, 299) - 128) / 128  # [n, 3, 299, 299]
        features = self.network(x.contiguous(memory_format=torch.channels_last))
        return Observation(features, F.linear(features, self.network.fc.weight).softmax(1))


def load(progress: Progress | None = None) -> Inception:
    """The network with the weights of `WEIGHTS`, fetched if they are not on this machine."""
    return Inception(WEIGHTS.obtain(progress))


check = WEIGHTS.check


def _refuse_program(path: Path) -> None:
    """CheckpointError if the file is a TorchScript program, as the official tools use: reading it means running it."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise CheckpointError(
                f"{path} is a TorchScript program, which is not run: the same weights without code are {WEIGHTS.file}, "
                f"from {WEIGHTS.url}; set {WEIGHTS.variable} to its path"
            )
