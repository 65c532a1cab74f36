"""The layers that the arrays of a torch model belong to, as far as names and shapes show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from paramctl.model import Model

EMBEDDINGS = ("emb", "wte", "wpe", "shared", "relative_attention_bias", "lookup", "codebook")
"""Parts of the names of embeddings. PEFT gives an embedding factors of another kind than a linear layer."""


@dataclass(frozen=True)
class Layers:
    """The modules of a model with torch's names."""

    model: Model

    @cached_property
    def modules(self) -> set[str]:
        """The names of all modules: of layers, and of those that contain layers."""
        names = set()
        for path in self.model.parameters:
            parts = path.split(".")
            names |= {".".join(parts[:end]) for end in range(1, len(parts))}
        return names

    @cached_property
    def containers(self) -> set[str]:
        """The names of modules that contain other modules."""
        return {name.rpartition(".")[0] for name in self.modules}

    def is_unique(self, module: str) -> bool:
        """Return whether no other module's name ends in this one, which PEFT would take for it too."""
        return not any(name.endswith(module) for name in self.modules if name != module)

    def is_embedding(self, module: str) -> bool:
        """Return whether the name of a module is one of those that embeddings have."""
        return any(part in module.lower() for part in EMBEDDINGS)

    def is_linear(self, path: str) -> bool:
        """Return whether an array is a matrix, and its layer is not an embedding."""
        module, _, leaf = path.rpartition(".")
        is_matrix = leaf == "weight" and len(self.model.parameters[path].shape) == 2 and bool(module)
        return is_matrix and not self.is_embedding(module)

    def is_factored(self, path: str) -> bool:
        """Return whether an array is the weight of a linear layer whose direction is known."""
        return self.is_linear(path) and self.directions[path.rpartition(".")[0]] is not None

    @cached_property
    def directions(self) -> Mapping[str, bool | None]:
        """True for each linear layer that stores (in, out), as Conv1D of GPT-2; None if that is not known.

        If neither the layer nor its namesakes show it, it is a Linear, unless the model has a Conv1D anywhere.
        """
        # a model of Conv1D may have a Linear too, such as a head; most models have no Conv1D
        common = None if True in self.evident_directions.values() else False
        return {module: common if way is None else way for module, way in self.evident_directions.items()}

    @cached_property
    def evident_directions(self) -> Mapping[str, bool | None]:
        """The same, from the biases of layers alone: a bias has one number for each output.

        Where the weight is square, other layers with the same last name decide, such as c_proj.
        """
        modules = [path.rpartition(".")[0] for path in self.model.parameters if self.is_linear(path)]
        known = {module: self._direction(module) for module in modules}
        namesakes: dict[str, set[bool]] = {}
        for module, way in known.items():
            if way is not None:
                namesakes.setdefault(module.rpartition(".")[2], set()).add(way)
        for module in modules:
            votes = namesakes.get(module.rpartition(".")[2], set())
            if known[module] is None and len(votes) == 1:
                known[module] = next(iter(votes))
        return known

    def _direction(self, module: str) -> bool | None:
        """Return whether a layer stores (in, out), by its bias; None for a square weight."""
        parameters = self.model.parameters
        first, second = parameters[f"{module}.weight"].shape
        if f"{module}.bias" not in parameters:  # Conv1D always has one
            return False
        size = parameters[f"{module}.bias"].size
        return None if first == second else size == second
