"""paramctl: a neural network's parameters, from a shell or from Python.

>>> import paramctl as pc
>>> model = pc.load_model("sample_models/mlp.yaml")
>>> weights = pc.initialize(model, scheme="he_normal", seed=7)
>>> weights["dense/kernel"][:, 0].shape
(4,)

Names are imported when they are first used, so that importing this package costs nothing. docs/library.md shows them
all by examples.
"""

TYPE_CHECKING = False  # type checkers take it as true; --version needs no import of typing
if TYPE_CHECKING:
    import typing

__version__ = "0.1.0"

_MODULES = {
    "paramctl.library.opening": ("load_model", "open", "rebuild_index", "reopen"),
    "paramctl.library.initialization": ("initialize",),
    "paramctl.library.edits": ("assign", "rename", "tie", "untie"),
    "paramctl.library.freezing": ("freeze", "unfreeze"),
    "paramctl.library.combining": ("arithmetic", "average"),
    "paramctl.library.converting": ("convert",),
    "paramctl.library.suggesting": ("suggest_renames",),
    "paramctl.library.saving": ("save",),
    "paramctl.library.structure": ("summary", "ties"),
    "paramctl.library.memory": ("memory",),
    "paramctl.library.metadata": ("metadata", "set_metadata"),
    "paramctl.library.lora": ("extract_lora", "merge"),
    "paramctl.library.checking": ("check",),
    "paramctl.library.measures": ("diff", "find_ties", "stat"),
    "paramctl.library.histograms": ("histogram",),
    "paramctl.library.printing": ("dump",),
    "paramctl.library.gradients": ("gradients",),
    "paramctl.library.probing": ("probe",),
    "paramctl.library.reporting": ("report",),
    "paramctl.library.running": ("run",),
    "paramctl.library.catalog": ("layers", "schema", "schemes"),
    "paramctl.library.arrays": ("LazyArray",),
    "paramctl.library.training": ("train",),
    "paramctl.library.verifying": ("sums", "verify"),
    "paramctl.library.weights": ("Weights",),
    "paramctl.model": ("Model",),
    "paramctl.errors": ("AddressError", "DocumentError", "InputError", "OutputError", "ParamctlError"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:  # the same names again, for type checkers and editors; a test compares them with __all__
    from paramctl.errors import AddressError as AddressError
    from paramctl.errors import DocumentError as DocumentError
    from paramctl.errors import InputError as InputError
    from paramctl.errors import OutputError as OutputError
    from paramctl.errors import ParamctlError as ParamctlError
    from paramctl.library.arrays import LazyArray as LazyArray
    from paramctl.library.catalog import layers as layers
    from paramctl.library.catalog import schema as schema
    from paramctl.library.catalog import schemes as schemes
    from paramctl.library.checking import check as check
    from paramctl.library.combining import arithmetic as arithmetic
    from paramctl.library.combining import average as average
    from paramctl.library.converting import convert as convert
    from paramctl.library.edits import assign as assign
    from paramctl.library.edits import rename as rename
    from paramctl.library.edits import tie as tie
    from paramctl.library.edits import untie as untie
    from paramctl.library.freezing import freeze as freeze
    from paramctl.library.freezing import unfreeze as unfreeze
    from paramctl.library.gradients import gradients as gradients
    from paramctl.library.histograms import histogram as histogram
    from paramctl.library.initialization import initialize as initialize
    from paramctl.library.lora import extract_lora as extract_lora
    from paramctl.library.lora import merge as merge
    from paramctl.library.measures import diff as diff
    from paramctl.library.measures import find_ties as find_ties
    from paramctl.library.measures import stat as stat
    from paramctl.library.memory import memory as memory
    from paramctl.library.metadata import metadata as metadata
    from paramctl.library.metadata import set_metadata as set_metadata
    from paramctl.library.opening import load_model as load_model
    from paramctl.library.opening import open as open  # noqa: A004
    from paramctl.library.opening import rebuild_index as rebuild_index
    from paramctl.library.opening import reopen as reopen
    from paramctl.library.printing import dump as dump
    from paramctl.library.probing import probe as probe
    from paramctl.library.reporting import report as report
    from paramctl.library.running import run as run
    from paramctl.library.saving import save as save
    from paramctl.library.structure import summary as summary
    from paramctl.library.structure import ties as ties
    from paramctl.library.suggesting import suggest_renames as suggest_renames
    from paramctl.library.training import train as train
    from paramctl.library.verifying import sums as sums
    from paramctl.library.verifying import verify as verify
    from paramctl.library.weights import Weights as Weights
    from paramctl.model import Model as Model


def __getattr__(name: str) -> "typing.Any":
    from importlib import import_module  # for the same reason

    if name not in _HOMES:
        raise AttributeError(f"module 'paramctl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
