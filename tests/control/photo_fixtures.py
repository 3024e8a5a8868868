"""The reference vectors `predictor_*`: networks with weights by formula, run on images by formula.

Three images: two of 512 × 512 pixels, and the first one mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from gantrol.control.predictors import Predictor
from gantrol.control.predictors.distances import mean_absolute
from tests import reference
from tests.models.golden_transgan import formula_state


class PhotoFixture:
    """One predictor's fixture.

    Args:
        name: of the predictor, for example "arcface".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.info, self.tensors = reference.load(f"predictor_{name}")
        self.tolerance = self.info["recommended_tolerance"]

    def state(self) -> dict[str, Tensor]:
        """The weights as the official file names them, without the counters `num_batches_tracked`."""
        return formula_state(self.info)

    @cached_property
    def images(self) -> Tensor:
        """[3, 3, 512, 512] in [-1, 1]."""
        image = self.info["image"]
        texture = [["texture", image["texture_k"], [2, 3, 512, 512], 0.0, 1 / math.sqrt(3)]]
        noise = formula_state({"state_formula": {"tensors": texture}})["texture"].double().numpy()
        x = (np.arange(512) + 0.5) / 512
        drawn = image["texture_amp"] * noise
        for n in range(2):
            for c in range(3):
                drawn[n, c] += image["offset"][n][c]
                for amp, fx, fy, phase in image["terms"][n][c]:
                    drawn[n, c] += amp * np.sin(2 * np.pi * (fx * x[None, :] + fy * x[:, None]) + phase)
        two = torch.from_numpy(drawn.astype(np.float32))
        for i, (row, column) in enumerate(image["sampled_pixels"]):
            reference.assert_close(
                two[:, :, row, column], self.tensors["image_pixels"][:, :, i], rtol=0, atol=self.tolerance["image_atol"]
            )
        return torch.cat([two, two[:1].flip(3)])

    def assert_close(self, got: Tensor, key: str) -> None:
        """`got` is the expected tensor `key`, to the fixture's tolerance of outputs."""
        reference.assert_close(
            got,
            self.tensors[key],
            rtol=self.tolerance["output_rtol"],
            atol_of_max=self.tolerance["output_atol_relative_to_max"],
            what=f"{self.name} {key}",
        )

    def check_network(
        self,
        predictor: Predictor,
        features: Callable[[Tensor], Tensor],
        *,
        prepare: Callable[[Tensor], Tensor],
        layers: Mapping[str, nn.Module],
    ) -> Tensor:
        """Preprocessing, inner maps, features and the gradient of the images are the fixture's.

        Args:
            predictor: with the weights of the fixture.
            features: from images to the last features.
            prepare: from images to the network's input.
            layers: modules whose outputs are the inner maps `layer.NAME`.

        Returns:
            The features of the three images.
        """
        images = self.images.clone().requires_grad_(True)
        self.check_prepared(prepare(images))
        with self.watched(layers):
            found = features(images)
        self.assert_close(found, "features")
        self.check_gradient(predictor, found.sum(), images)
        return found.detach()

    def check_prepared(self, input: Tensor) -> None:
        """The network's input is the fixture's."""
        stride = self.info["preprocess_stride"]
        self.assert_close(input[:2, :, ::stride, ::stride], "preprocessed_sample")
        self.assert_close(input[:2].double().mean((2, 3)), "preprocessed_mean")
        self.assert_close(input[:2].double().std((2, 3), correction=0), "preprocessed_std")

    @contextmanager
    def watched(self, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        """What these modules return inside of the context are the inner maps `layer.NAME`, and there are no others."""
        seen: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.detach()}))
            for name, module in layers.items()
        ]
        yield
        for hook in hooks:
            hook.remove()
        assert {f"layer.{name}.rms" for name in layers} == {key for key in self.tensors if key.endswith(".rms")}
        for name, output in seen.items():
            channels, side = max(1, output.shape[1] // 8), math.ceil(output.shape[2] / 7)
            self.assert_close(output[:2, ::channels, ::side, ::side], f"layer.{name}.sample")
            self.assert_close(output.double().square().mean((1, 2, 3)).sqrt(), f"layer.{name}.rms")
            if (key := f"layer.{name}.distance_l1") in self.tensors:
                self.assert_close(torch.stack([mean_absolute(output, one.expand_as(output)) for one in output]), key)

    def check_gradient(self, predictor: Predictor, total: Tensor, images: Tensor) -> None:
        """The gradient of a sum of features with respect to the images is the fixture's; the weights have none."""
        assert all(not parameter.requires_grad for parameter in predictor.parameters()), "predictors are frozen"
        (gradient,) = torch.autograd.grad(total, images)
        for key, part in (
            ("grad_image_sample", gradient[:2, :, ::16, ::16]),
            ("grad_image_patch", gradient[:2, :, 240:256, 240:256]),
        ):
            expected = self.tensors[key]
            error = ((part - expected).norm() / expected.norm()).item()
            assert error <= self.tolerance["grad_relative_l2"], f"{self.name} {key}: relative L2 error {error:.2g}"
        reference.assert_close(
            gradient[:2].double().square().mean((2, 3)).sqrt(),
            self.tensors["grad_image_rms"],
            rtol=self.tolerance["grad_image_rms_rtol"],
            what=f"{self.name} grad_image_rms",
        )
