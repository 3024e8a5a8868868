"""Where `gantrol data import` reads from: each file here turns one published layout into names, images and labels.

    source.py       what an import asks of a source
    opening.py      which kind a path is
    arrays.py       raw pixels as a store of images
    cifar.py        CIFAR-10 and CIFAR-100, the Python and the binary files
    stl10.py        STL-10
    mnist.py        MNIST and its relatives in the idx format
    celeba.py       CelebA: images with forty attributes
    lmdb.py         LSUN and other LMDB databases of encoded images (extra)
    huggingface.py  Hugging Face datasets (extra)

Nothing in these files is executed: the pickles of CIFAR go through `gantrol.inert_pickle`.
"""

from gantrol.data.sources.opening import open_source
from gantrol.data.sources.source import Source

__all__ = ["Source", "open_source"]
