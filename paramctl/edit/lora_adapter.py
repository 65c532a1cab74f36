"""The tensors of a LoRA adapter, by the module that they belong to: PEFT's names, and those of kohya's scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from paramctl.edit.lora_config import NAME as CONFIG
from paramctl.edit.lora_config import LoraConfig, read_config
from paramctl.edit.pairing import is_number
from paramctl.errors import InputError
from paramctl.source.base import Source, place_of
from paramctl.source.open import open_checkpoint
from paramctl.store.location import MissingFile

FILES = ("adapter_model.safetensors", "adapter_model.bin")
"""The names of the file of an adapter in its folder, in order of preference."""
PREFIX = "base_model.model."

_LOW_RANK = re.compile(
    r"(?P<module>.+)\.(?P<kind>lora|lora_embedding)_(?P<side>A|B)(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?"
    r"(?:\.(?P<leaf>weight|bias))?"
)
_KOHYA = re.compile(r"(?P<module>.+)\.(?:lora_(?P<side>down|up)\.weight|(?P<alpha>alpha))")
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save\.[^.]+)(?=\.)")
"""The parts of a name that PEFT's wrappers add: ``score.modules_to_save.default.weight`` is ``score.weight``."""


@dataclass(slots=True)
class Module:
    """The tensors of one module of an adapter, by their paths in its file.

    down, up: the factors, A and B of PEFT. bias: of B. alpha: a number of kohya's, in the file.
    is_embedding: True for factors of an embedding, whose product is transposed.
    """

    down: str = ""
    up: str = ""
    bias: str = ""
    alpha: str = ""
    is_embedding: bool = False


@dataclass(slots=True)
class Adapter:
    """An adapter.

    modules: by name. arrays: the paths in the file of arrays that replace those of the base, by name.
    config: None for an adapter that has its scales among its tensors.
    """

    source: Source
    config: LoraConfig | None
    modules: dict[str, Module] = field(default_factory=dict)
    arrays: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return place_of(self.source)


def open_adapter(path: str) -> Adapter:
    """Open an adapter: a folder as PEFT writes it, or a file. Raises InputError if it is damaged or not supported."""
    file = path
    if os.path.isdir(path):
        # the folder of a training run has other checkpoints too
        names = [name for name in FILES if os.path.exists(os.path.join(path, name))]
        if not names:
            raise InputError(f"{path}: must have the file {FILES[0]} of a LoRA adapter")
        file = os.path.join(path, names[0])
    source = open_checkpoint(file)
    adapter = Adapter(source, _config_beside(source))
    adapters = set(_sort_tensors(adapter))
    if len(adapters) > 1:
        raise InputError(f"{adapter.place}: must have the tensors of one adapter (got {', '.join(sorted(adapters))})")
    _check(adapter)
    return adapter


def _config_beside(source: Source) -> LoraConfig | None:
    """Return the configuration in the folder, or at the URL, of an adapter; None if no file has its name."""
    try:
        location = source.origin.location.sibling(CONFIG) if source.origin.location is not None else None
    except MissingFile:
        return None
    return read_config(location) if location is not None else None


def _sort_tensors(adapter: Adapter) -> Iterator[str]:
    """Assign each tensor to its module, and yield the names of adapters in the names of tensors."""
    for path in adapter.source.model.parameters:
        if "lora_magnitude_vector" in path:
            raise InputError(f"{adapter.place}: DoRA is not supported (got {path})")
        name = _WRAPPED.sub("", path.removeprefix(PREFIX))
        if match := _LOW_RANK.fullmatch(name):
            module = adapter.modules.setdefault(match["module"], Module())
            module.is_embedding = match["kind"] == "lora_embedding"
            if match["leaf"] == "bias":
                module.bias = path
            elif match["side"] == "A":
                module.down = path
            else:
                module.up = path
            if match["adapter"]:
                yield match["adapter"]
        elif match := _KOHYA.fullmatch(name):
            module = adapter.modules.setdefault(match["module"], Module())
            setattr(module, "alpha" if match["alpha"] else match["side"], path)
        else:
            adapter.arrays[name] = path


def _check(adapter: Adapter) -> None:
    """Raise InputError for a module that lacks a factor, whose factors do not fit, or whose scale is unknown."""
    if not adapter.modules and not adapter.arrays:
        raise InputError(f"{adapter.place}: must have the tensors of a LoRA adapter")
    parameters = adapter.source.model.parameters
    for name, module in adapter.modules.items():
        if not module.down or not module.up:
            missing = "A (down)" if not module.down else "B (up)"
            raise InputError(f"{adapter.place}: the factor {missing} of {name} is missing")
        for path in (module.down, module.up):
            if not is_number(parameters[path].dtype):
                raise InputError(f"{adapter.place}: {path} must have numbers (got {parameters[path].dtype})")
        down, up = parameters[module.down].shape, parameters[module.up].shape
        if len(down) < 2 or len(up) != len(down) or up[1] != down[0] or not down[0] or set(up[2:]) - {1}:
            raise InputError(f"{adapter.place}: the factors of {name} do not fit: {down} and {up}")
        if not adapter.config and not module.alpha:
            raise InputError(f"{adapter.place}: the scale of {name} is unknown: {CONFIG} must be in the same folder")
    if adapter.arrays and not adapter.modules and not adapter.config:
        raise InputError(f"{adapter.place}: must have the tensors of a LoRA adapter (got {next(iter(adapter.arrays))})")
