"""The resizing of TensorFlow 1, which the networks of the published metrics were fed with.

N images · C channels · H W pixels of the image · S side of the network's input.
"""

from __future__ import annotations

import torch
from torch import Tensor


def resize_tf1(images: Tensor, side: int) -> Tensor:
    """Bilinear, aligned at the top-left corners: [N, C, H, W] → [N, C, S, S], float32.

    Column j of the result is read at x = j·W/S, between the pixels ⌊x⌋ and ⌊x⌋ + 1; beyond the last pixel, at that
    pixel. Rows likewise. So the image is shifted by up to half a pixel, and large images are sampled without a low-pass
    filter: both are part of the published numbers.

    Places are computed in float32, as there.

    Source: `tf.image.resize_bilinear` of TensorFlow 1 with `align_corners=False`.
    """
    x = images.to(torch.float32)
    for dim in (3, 2):
        size = x.shape[dim]
        if size == side:
            continue
        places = torch.arange(side, dtype=torch.float32) * torch.tensor(size / side, dtype=torch.float32)
        first = places.long()
        share = (places - first).to(x.device)
        here = x.index_select(dim, first.to(x.device))
        there = x.index_select(dim, (first + 1).clamp(max=size - 1).to(x.device))
        x = torch.lerp(here, there, share if dim == 3 else share[:, None])
    return x
