"""Operators: alias-free resampling and nonlinearity, biased activations, modulated convolutions.

Each is a pure function with the argument names that users of StyleGAN code know, and a readable reference beside the
fast paths (`impl="reference"`). On CUDA the fast paths are fused kernels (`kernels`), elsewhere torch's own operations;
`paths` decides, and records what ran.
"""

from gantrol.ops.bias_act import ACTIVATIONS, bias_act
from gantrol.ops.conv import conv2d_resample, modulated_conv2d, modulated_conv2d_resample
from gantrol.ops.filtered_lrelu import filtered_lrelu
from gantrol.ops.filters import design_lowpass_filter, setup_filter
from gantrol.ops.resample import downsample2d, filter2d, upfirdn2d, upsample2d

__all__ = [
    "ACTIVATIONS",
    "bias_act",
    "conv2d_resample",
    "design_lowpass_filter",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "modulated_conv2d",
    "modulated_conv2d_resample",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]
