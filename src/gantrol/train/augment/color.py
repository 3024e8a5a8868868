"""Colour of the augmentation: one affine map of RGB per image, applied with one matrix product.

The grey axis is v = (1, 1, 1)/√3. Luma flip, hue and saturation treat it and the plane across it differently, so they
are made of two things: the mean over the channels, which is the projection onto v, and cyclic shifts of the channels.

Source: StyleGAN2-ADA (Karras et al. 2020), appendix B; our specification notes, section 4.4.
Dimensions: N images, C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ColorMap:
    """N maps of colours, [N, 3, 4]: the first three rows of homogeneous 4×4 matrices.

    Each method multiplies from the left: the operations act on the colours in the order of the calls.
    """

    rows: torch.Tensor

    @classmethod
    def identity(cls, count: int, device: torch.device, dtype: torch.dtype) -> ColorMap:
        return cls(torch.eye(3, 4, device=device, dtype=dtype).expand(count, 3, 4))

    def brighten(self, amount: torch.Tensor) -> ColorMap:
        """Adds the amounts [N] to every channel."""
        return ColorMap(torch.cat([self.rows[:, :, :3], self.rows[:, :, 3:] + amount[:, None, None]], dim=2))

    def contrast(self, factor: torch.Tensor) -> ColorMap:
        """Multiplies every channel with the factors [N]."""
        return ColorMap(self.rows * factor[:, None, None])

    def flip_luma(self, is_flipped: torch.Tensor) -> ColorMap:
        """Mirrors lightness and keeps hue and saturation, where [N] is 1; does nothing where it is 0."""
        return ColorMap(self.rows - 2 * is_flipped[:, None, None] * self.rows.mean(1, keepdim=True))

    def rotate_hue(self, angle: torch.Tensor) -> ColorMap:
        """Turns colours about the grey axis by the angles [N], in radians."""
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None] / 3**0.5
        along, across = (1 + 2 * cos) / 3, (1 - cos) / 3
        left, right = self.rows.roll(-1, dims=1), self.rows.roll(1, dims=1)
        return ColorMap(along * self.rows + (across - sin) * left + (across + sin) * right)

    def saturate(self, factor: torch.Tensor) -> ColorMap:
        """Multiplies the distance from grey with the factors [N]."""
        grey = self.rows.mean(1, keepdim=True)
        return ColorMap(grey + (self.rows - grey) * factor[:, None, None])

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """The images [N, C, H, W] with their colours mapped; C is 3, or 1 for grey ones, which stay grey."""
        rows = self.rows  # [N, 3, 4]
        if images.shape[1] == 1:
            rows = rows.mean(1, keepdim=True)  # a grey pixel is (g, g, g); the result is averaged to grey again
            rows = torch.cat([rows[:, :, :3].sum(2, keepdim=True), rows[:, :, 3:]], dim=2)  # [N, 1, 2]
        mapped = torch.baddbmm(rows[:, :, -1:], rows[:, :, :-1], images.flatten(2))  # [N, C, H·W]
        return mapped.view_as(images)
