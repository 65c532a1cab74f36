"""paramctl: a neural network's parameters, from a shell.

The library is used by its modules: ``from paramctl.model import load``. This one
holds the version alone, so that importing the package costs nothing.
"""

__version__ = "0.1.0"
