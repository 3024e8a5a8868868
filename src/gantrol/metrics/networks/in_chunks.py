"""What all feature networks share: uint8 images in, a few at a time through the network, one `Observation` out.

N batch · n images of a chunk · C channels · H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrol.metrics.features import Observation


class ChunkedNetwork(nn.Module):
    """A feature network that observes at most `chunk` images at a time; subclasses say how (`_observe`).

    An image's features do not depend on the others of its batch, up to rounding.
    """

    title: str
    version: str
    resampling: str
    num_features: int
    num_classes: int
    is_official: bool = False

    chunk_on_cpu: int = 16
    """Images at a time on a CPU, where the activations of more no longer fit the cache."""
    chunk_elsewhere: int = 128
    """The same on other devices, where it bounds the memory."""

    def forward(self, images: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W], C = 1 or 3, to features, float32 [N, D]."""
        return self.observe(images).features

    @torch.inference_mode()
    def observe(self, images: Tensor) -> Observation:
        """Features and probabilities of uint8 images [N, C, H, W], C = 1 or 3; both float32.

        Raises:
            TypeError: the images are not bytes.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"feature networks take uint8 images, not {images.dtype}")
        chunk = self.chunk_on_cpu if images.device.type == "cpu" else self.chunk_elsewhere
        parts = [self._observe(part.expand(-1, 3, -1, -1)) for part in images.split(chunk)]
        if len(parts) == 1:
            return parts[0]
        features = torch.cat([part.features for part in parts])
        known = [part.probabilities for part in parts if part.probabilities is not None]
        return Observation(features, torch.cat(known) if known else None)

    def _observe(self, images: Tensor) -> Observation:
        """The same of uint8 RGB images [n, 3, H, W], all at once."""
        raise NotImplementedError
