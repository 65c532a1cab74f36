"""paramctl: a neural network's parameters, from a shell or from Python.

>>> import paramctl as pc
>>> model = pc.load_model("sample_models/mlp.yaml")
>>> weights = pc.initialize(model, scheme="he_normal", seed=7)
>>> weights["dense/kernel"][:, 0].shape
(4,)

Names are imported when they are first used, so that importing this package costs nothing. docs/library.md shows them
all by examples.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = {
    "paramctl.library.opening": ("load_model", "open"),
    "paramctl.library.values": ("assign", "convert", "initialize", "rename", "save", "tie", "untie"),
    "paramctl.library.facts": ("diff", "find_ties", "layers", "schema", "schemes", "stat", "summary", "ties"),
    "paramctl.library.weights": ("LazyArray", "Weights"),
    "paramctl.model": ("Model",),
    "paramctl.edit.reopen": ("reopen",),
    "paramctl.errors": ("AddressError", "DocumentError", "InputError", "OutputError", "ParamctlError"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:  # the same names again, for type checkers and editors; a test compares them with __all__
    from paramctl.edit.reopen import reopen as reopen
    from paramctl.errors import AddressError as AddressError
    from paramctl.errors import DocumentError as DocumentError
    from paramctl.errors import InputError as InputError
    from paramctl.errors import OutputError as OutputError
    from paramctl.errors import ParamctlError as ParamctlError
    from paramctl.library.facts import diff as diff
    from paramctl.library.facts import find_ties as find_ties
    from paramctl.library.facts import layers as layers
    from paramctl.library.facts import schema as schema
    from paramctl.library.facts import schemes as schemes
    from paramctl.library.facts import stat as stat
    from paramctl.library.facts import summary as summary
    from paramctl.library.facts import ties as ties
    from paramctl.library.opening import load_model as load_model
    from paramctl.library.opening import open as open  # noqa: A004
    from paramctl.library.values import assign as assign
    from paramctl.library.values import convert as convert
    from paramctl.library.values import initialize as initialize
    from paramctl.library.values import rename as rename
    from paramctl.library.values import save as save
    from paramctl.library.values import tie as tie
    from paramctl.library.values import untie as untie
    from paramctl.library.weights import LazyArray as LazyArray
    from paramctl.library.weights import Weights as Weights
    from paramctl.model import Model as Model


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paramctl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
