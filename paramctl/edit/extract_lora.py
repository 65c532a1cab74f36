"""Extract a LoRA adapter, in PEFT's layout, from the difference between two checkpoints of one model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paramctl.address.resolve import resolve_whole
from paramctl.core.blas import one_thread
from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.edit.lora_adapter import PREFIX
from paramctl.edit.lora_layers import Layers
from paramctl.edit.pairing import has_tie, is_equal, pair
from paramctl.errors import AddressError
from paramctl.source.base import Source, place_of
from paramctl.source.combined import widened
from paramctl.source.computed import Computed
from paramctl.source.gathered import Gathered
from paramctl.store.contents import gather


@dataclass(frozen=True, slots=True)
class ExtractedRow:
    """One array that differs.

    stored: as factors of a rank, or in full. error: the L2 norm of the part of the difference that the factors lack,
    over that of the difference.
    """

    path: str
    shape: tuple[int, ...]
    stored: str
    rank: int | None
    error: float


@dataclass
class Extracted:
    """An adapter that is being extracted.

    names: of the arrays of the base in the tuned checkpoint.
    factors: arrays by their names in the adapter.
    full: the paths of arrays that are stored in full, by their names in the adapter.
    ranks: of modules whose weight has a smaller size than the rank.
    """

    base: Source
    tuned: Source
    rank: int
    names: Mapping[str, str]
    rows: list[ExtractedRow] = field(default_factory=list)
    factors: dict[str, Array] = field(default_factory=dict)
    full: dict[str, str] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    saved_modules: list[str] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = Layers(self.base.model)

    @property
    def source(self) -> Source:
        """The tensors of ``adapter_model.safetensors``."""
        computed = Computed("adapter", self.factors)
        factors = {name: (computed, name) for name in self.factors}
        return Gathered(
            "adapter", {**factors, **{name: (self.tuned, self.names[path]) for name, path in self.full.items()}}
        )

    def config(self) -> str:
        """Return the text of ``adapter_config.json``. alpha is the rank, so that the scale is 1."""
        anchored = [re.escape(module) for module in self.targets]
        is_exact = all(self._is_exact(module) for module in self.targets)
        ranks = {module if self._is_exact(module) else f"^{re.escape(module)}": r for module, r in self.ranks.items()}
        settings: Mapping[str, Any] = {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": None,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": self.rank,
            "lora_dropout": 0.0,
            "use_rslora": False,
            "use_dora": False,
            "fan_in_fan_out": any(self.layers.directions[module] for module in self.targets),
            "bias": "lora_only" if any(name.endswith(".base_layer.bias") for name in self.full) else "none",
            # a list matches the ends of names too
            "target_modules": self.targets if is_exact else rf"(?:{'|'.join(anchored)})",
            "modules_to_save": self.saved_modules or None,
            "rank_pattern": ranks,
            "alpha_pattern": ranks,
            "init_lora_weights": True,
        }
        return json.dumps(settings, indent=2) + "\n"

    def _is_exact(self, module: str) -> bool:
        return not any(name.endswith(f".{module}") for name in self.layers.modules)

    def add_factors(self, path: str, difference: Array) -> None:
        """Add the factors of the difference of a matrix."""
        module = path.removesuffix(".weight")
        rank = min(self.rank, *difference.shape)
        turned = bool(self.layers.directions[module])
        down, up, error = factorize(difference.T if turned else difference, rank)
        self.factors[f"{PREFIX}{module}.lora_A.weight"] = down
        self.factors[f"{PREFIX}{module}.lora_B.weight"] = up
        self.targets.append(module)
        if rank != self.rank:
            self.ranks[module] = rank
        self.rows.append(ExtractedRow(path, difference.shape, "factors", rank, error))

    def add_full(self, path: str) -> None:
        """Add an array in full. It becomes part of a module of modules_to_save in ``finish``, if possible."""
        self.full[f"{PREFIX}{path}"] = path
        self.rows.append(ExtractedRow(path, self.base.model.parameters[path].shape, "in full", None, 0.0))

    def finish(self) -> None:
        """Give the arrays in full the names that PEFT loads. Raises AddressError if it would not load the adapter."""
        tied = {name for tie in self.base.model.ties for name in (tie.kept, tie.tied)}
        if not self.targets:
            self._add_empty_factors(tied)
        for path in list(self.full.values()):
            module = path.rpartition(".")[0]
            arrays = [name for name in self.base.model.parameters if name.rpartition(".")[0] == module]
            if module in self.targets:
                # PEFT wraps the layer: the parameters beside the weight are those of its base layer
                self.full[f"{PREFIX}{module}.base_layer.{path.rpartition('.')[2]}"] = self.full.pop(f"{PREFIX}{path}")
                continue
            is_leaf = bool(module) and module not in self.layers.containers and self.layers.is_unique(module)
            # a model's code may tie an embedding to another layer, and a copy of its module would be untied
            if is_leaf and not tied & {*arrays} and not self.layers.is_embedding(module):
                self.full |= {f"{PREFIX}{name}": name for name in arrays}
                self.saved_modules += [module] if module not in self.saved_modules else []

    def _add_empty_factors(self, tied: Collection[str]) -> None:
        """Add factors of zeros for the smallest linear layer: PEFT refuses an adapter without factors."""
        linear = [owner for owner in self.base.model.owners() if owner.size and self.layers.is_factored(owner.path)]
        if not (untied := [owner for owner in linear if owner.path not in tied]):
            rule = "PEFT loads an adapter only with factors, and no linear layer can have some"
            raise AddressError(f"{place_of(self.base)}: {rule}", f"{len(self.full)} arrays in full")
        target = min(untied, key=lambda owner: owner.size)
        module = target.path.removesuffix(".weight")
        rows, columns = reversed(target.shape) if self.layers.directions[module] else target.shape
        self.factors[f"{PREFIX}{module}.lora_A.weight"] = np.zeros((1, columns), np.float32)
        self.factors[f"{PREFIX}{module}.lora_B.weight"] = np.zeros((rows, 1), np.float32)
        self.targets.append(module)
        if self.rank != 1:
            self.ranks[module] = 1


def extract(
    base: Source,
    tuned: Source,
    rank: int,
    full: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Extracted:
    """Extract an adapter that changes a base into a tuned checkpoint. Reads one matrix after another.

    rank: of the factors. full: patterns of arrays to store in full. progress: called with the matrices done and in all.
    Raises AddressError for checkpoints that differ in names or shapes, or not at all, and for names that are not those
    of torch's modules.
    """
    model = base.model
    if model.separator != "." and len(model.parameters) > 1:
        hint = "Convert both first: paramctl save FILE --layout torch -o NEW."
        raise AddressError(f"{place_of(base)}: must have the names of torch", next(iter(model.parameters)), hint)
    if untied := [tie.tied for tie in model.ties if not has_tie(tuned.model, tie)]:
        hint = f"Untie it first: paramctl untie FILE {untied[0]} -o NEW."
        raise AddressError(f"{place_of(tuned)}: must have the ties of {place_of(base)}", f"no tie of {untied[0]}", hint)
    names = pair({"base": base, "tuned": tuned}, ()).names["tuned"]
    in_full = {model.owner(path).path for text in full for path in resolve_whole(model, text, "stored in full")}
    extracted = Extracted(base, tuned, rank, names)
    owners = [owner for owner in model.owners() if owner.size]
    for number, owner in enumerate(owners):
        path = owner.path
        layers = extracted.layers
        if path not in in_full and layers.is_factored(path):
            difference = _whole(tuned, names[path]) - _whole(base, path)
            if not np.isfinite(difference).all():
                rule = f"{path}: factors require a difference that is finite"
                raise AddressError(rule, "NaN or infinite values", f"Store it in full with --full '{path}'.")
            if difference.any():
                extracted.add_factors(path, difference)
        elif not is_equal(base, tuned, owner, names[path]):
            extracted.add_full(path)
        if progress is not None:
            progress(number + 1, len(owners))
    if not extracted.rows:
        raise AddressError("the checkpoints must differ", f"{place_of(base)} and {place_of(tuned)}, which are equal")
    extracted.finish()
    return extracted


def factorize(matrix: Array, rank: int) -> tuple[Array, Array, float]:
    """Return factors A (rank, columns) and B (rows, rank) with B A nearest to a matrix, and the relative error.

    Eckart and Young (1936). The largest number of each column of B is positive, so that the signs are determined.
    """
    with one_thread():  # on whose number the last bits of the factors depend
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    up, down = left[:, :rank] * root, right[:rank] * root[:, None]
    signs = np.where(up[np.abs(up).argmax(0), np.arange(rank)] < 0, -1.0, 1.0)
    error = float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))
    return (down * signs[:, None]).astype(np.float32), (up * signs).astype(np.float32), error


def _whole(source: Source, path: str) -> Array:
    """Return a matrix in float64."""
    shape = source.model.parameters[path].shape
    return widened(np.concatenate(list(gather(source, path, select_all(shape))))).reshape(shape)
