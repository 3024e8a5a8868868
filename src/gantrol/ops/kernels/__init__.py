"""Fused CUDA kernels in Triton; `gantrol.ops` imports them when it runs one, never before.

    tiling          how images are cut, and the small matrices that filters become; no Triton in it
    windows         the first half of both resampling kernels
    upfirdn         `upfirdn2d`
    filtered_lrelu  the alias-free nonlinearity and its derivatives
    bias_act        bias, activation, gain and clamp, and its derivatives
    autotune        which tile is the fastest for a shape

What they compute and how that is checked without a GPU: docs/cuda.md.
"""
