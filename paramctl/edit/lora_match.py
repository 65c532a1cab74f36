"""Match the tensors of a LoRA adapter with the arrays of its base: by name, direction and shape."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from paramctl.core.indexing import select_all
from paramctl.core.text import abbreviate
from paramctl.edit.lora_adapter import Adapter, Module
from paramctl.edit.lora_layers import Layers
from paramctl.edit.pairing import is_computed, is_number
from paramctl.errors import AddressError, InputError
from paramctl.source.base import Source, place_of
from paramctl.source.merged import Change, LowRank, Whole
from paramctl.store.contents import gather

_KOHYA_PREFIX = re.compile(r"lora_[a-z0-9]+_")


class Matched(NamedTuple):
    """The changes of an adapter, each with the path of its array, whole arrays first; and notes about names."""

    changes: list[tuple[str, Change]]
    notes: list[str]


def match(base: Source, adapter: Adapter, scale: float) -> Matched:
    """Match an adapter with its base. scale: a factor for all products.

    Raises AddressError for a tensor that belongs to no array of the base, or does not fit its shape.
    """
    names, notes = _find_names(base, adapter)
    matching = _Matching(base, adapter, names)
    return Matched([*matching.changes(scale)], notes)


class _Matching:
    """An adapter whose names are matched. names: the array of the base for each module and whole array."""

    def __init__(self, base: Source, adapter: Adapter, names: Mapping[str, str]) -> None:
        self.base, self.adapter, self.names = base, adapter, names
        self.parameters = base.model.parameters
        self.tensors = adapter.source.model.parameters

    def changes(self, scale: float) -> Iterator[tuple[str, Change]]:
        """Yield the path of each changed array, and its change."""
        source, place = self.adapter.source, self.adapter.place
        for name, path in self.adapter.arrays.items():
            self.check_shape(self.names[name], path)
            yield self.names[name], Whole(source, path)
        transposed, scales = self.find_transposed(), self.find_scales()
        for name, module in self.adapter.modules.items():
            target, factor = self.names[name], scales[name] * scale
            owner = self.base.model.owner(target)
            if not is_computed(self.base.model, owner):
                rule = f"{place}: an adapter can only be merged into numbers that are not quantized"
                raise AddressError(rule, f"{target} of {owner.dtype}")
            yield target, LowRank(source, module.up, module.down, transposed[name], factor)
            if module.bias:
                bias = f"{target.rpartition('.')[0]}.bias"
                if bias not in self.parameters:
                    raise AddressError(f"{place}: {module.bias} must belong to an array of the base", f"no {bias}")
                self.check_shape(bias, module.bias)
                yield bias, Whole(source, module.bias, factor)

    def check_shape(self, target: str, path: str) -> None:
        """Raise AddressError unless an array of the adapter fits one of the base."""
        owner, tensor = self.base.model.owner(target), self.adapter.source.model.owner(path)
        shape = self.parameters[target].shape
        if shape != self.tensors[path].shape or is_number(owner.dtype) != is_number(tensor.dtype):
            received = f"{self.tensors[path].shape} {tensor.dtype}, not {shape} {owner.dtype}"
            raise AddressError(f"{self.adapter.place}: {path} must fit {target} of the base", received)

    def find_transposed(self) -> dict[str, bool]:
        """Return whether the product of each module is transposed: that of an embedding, or of a Conv1D of GPT-2.

        A square weight fits both ways. Then the biases of the base decide; without these, the configuration and the
        other modules, if all of them agree.
        """
        config, evident = self.adapter.config, Layers(self.base.model).evident_directions
        ways = {name: self.way(name, module) for name, module in self.adapter.modules.items()}
        layers = [name for name, module in self.adapter.modules.items() if not module.is_embedding]
        votes = {*(ways[name] for name in layers), config is not None and config.fan_in_fan_out} - {None}
        transposed = {}
        for name, way in ways.items():
            way = evident.get(self.names[name].removesuffix(".weight")) if way is None else way
            if way is None and len(votes) > 1:
                rule = f"{self.adapter.place}: {name} is square, so that its layer may be a Linear or a Conv1D"
                raise AddressError(rule, "an adapter with layers of both kinds")
            transposed[name] = bool(next(iter(votes)) if way is None else way)
        return transposed

    def way(self, name: str, module: Module) -> bool | None:
        """Return whether a product must be transposed to fit; None if it fits both ways. Raises AddressError."""
        down, up = self.tensors[module.down].shape, self.tensors[module.up].shape
        shape, product = self.parameters[self.names[name]].shape, (up[0], *down[1:])
        turned = product[::-1] if len(product) == 2 else ()
        if module.is_embedding and shape == turned:
            return True
        if not module.is_embedding and shape in (product, turned):
            return None if product == turned else shape == turned
        rule = f"{self.adapter.place}: the product of the factors of {name} must fit {self.names[name]}"
        raise AddressError(rule, f"{product}, not {shape}")

    def find_scales(self) -> dict[str, float]:
        """Return the factor of each module's product: of the configuration, or alpha / rank from the file."""
        ranks = {name: self.tensors[module.down].shape[0] for name, module in self.adapter.modules.items()}
        if self.adapter.config is not None:
            return self.adapter.config.scales(ranks)
        scales = {}
        for name, module in self.adapter.modules.items():
            alpha = self.tensors[module.alpha]
            if alpha.size != 1 or not is_number(alpha.dtype):
                raise InputError(f"{self.adapter.place}: {module.alpha} must be one number (got {alpha.shape})")
            (values,) = gather(self.adapter.source, module.alpha, select_all(alpha.shape))
            scales[name] = float(values[0]) / ranks[name]
        return scales


def _find_names(base: Source, adapter: Adapter) -> tuple[dict[str, str], list[str]]:
    """Return the array of the base for each module, and for each whole array, of the adapter; and notes.

    A file may lack the prefix that another class of its model has: ``h.0.attn`` for ``transformer.h.0.attn``.
    Raises AddressError for names that fit no part of the base, or several.
    """
    names = [*adapter.arrays, *adapter.modules]

    def target(new: str, name: str) -> str:
        path = new if name in adapter.arrays else f"{new}.weight"
        return path if path in base.model.parameters else ""

    fitting: dict[str, dict[str, str]] = {}
    for note, change in _renamings(names, [*base.model.parameters]):
        targets = {name: target(change(name), name) for name in names}
        if all(targets.values()) and targets not in fitting.values():
            fitting[note] = targets
        # names that fit as they are need no other
        if "" in fitting:
            return targets, []
    if len(fitting) > 1:  # the layers of CLIP's text and vision models have the same names below their prefixes
        raise AddressError(f"{adapter.place}: the names must fit one part of {place_of(base)}", " or ".join(fitting))
    for note, targets in fitting.items():
        return targets, [f"{adapter.place}: {note}"]
    missing = [name for name in names if not target(name, name)]
    rule = f"{adapter.place}: each tensor must belong to an array of {place_of(base)}"
    raise AddressError(rule, abbreviate(missing))


def _renamings(names: Sequence[str], paths: Sequence[str]) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield functions from names of an adapter to those of its base, each with a note; the names themselves first."""
    yield "", lambda name: name
    if names and all(map(_KOHYA_PREFIX.match, names)):
        modules = {path.rpartition(".")[0] for path in paths}
        written = Counter(module.replace(".", "_") for module in modules)
        # a.b_c and a_b.c are written the same, so that neither is known
        plain = {text: module for module in modules if written[text := module.replace(".", "_")] == 1}
        yield "", lambda name: plain.get(_KOHYA_PREFIX.sub("", name, count=1), "")
    for prefix in sorted({name.partition(".")[0] for name in names}):
        yield f"names without the prefix {prefix}.", lambda name, prefix=prefix: name.removeprefix(f"{prefix}.")  # type: ignore[misc]
    for prefix in sorted({path.partition(".")[0] for path in paths}):
        yield f"names with the prefix {prefix}.", lambda name, prefix=prefix: f"{prefix}.{name}"  # type: ignore[misc]
