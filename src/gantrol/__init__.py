"""gantrol: alias-free, transformer and controllable GANs in one package."""

__version__ = "0.1.0"
