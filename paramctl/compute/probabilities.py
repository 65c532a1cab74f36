"""Probabilities or logits: whether the values of an output are known to be within 0 to 1.

The last layer often only rearranges the values of a softmax, so the search goes back over such layers.
"""

from __future__ import annotations

from paramctl.compute.graph import Graph
from paramctl.model.layers import Layer

FUNCTIONS = frozenset({"softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid"})
"""The activations whose values are within 0 to 1."""

KEEPING_FUNCTIONS = frozenset({"linear", "relu", "relu6", "leaky_relu", "elu"})
"""The activations that keep all values within 0 to 1."""

KEEPING = frozenset(
    "identity masking flatten reshape permute repeat_vector take re_lu leaky_re_lu p_re_lu elu"
    " dropout spatial_dropout1d spatial_dropout2d spatial_dropout3d alpha_dropout gaussian_dropout gaussian_noise"
    " average maximum minimum multiply concatenate".split()
    + [
        f"{kind}{rank}d"
        for kind in "zero_padding cropping up_sampling max_pooling average_pooling global_max_pooling"
        " global_average_pooling adaptive_max_pooling adaptive_average_pooling".split()
        for rank in (1, 2, 3)
    ]
)
"""The layers whose outputs are within 0 to 1 if all their inputs are: they move, select or average values."""

RECURRENT = frozenset({"simple_rnn", "lstm", "gru"})
"""The layers whose activation is not the last operation."""


def gives_probabilities(graph: Graph, output: int) -> bool:
    """Return whether an output's values come from a softmax or a sigmoid, through layers that keep their range.

    False if that is not known.
    """
    steps = {step.output: step for step in graph.steps}
    pending, seen = [graph.source(output)], set()
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        step = steps.get(number)
        if step is None:  # an input of the model
            return False
        layer = applied_layer(step.layer)
        if not _ends_in_probabilities(layer):
            if not _keeps_range(layer):
                return False
            pending += map(graph.source, step.inputs)
    return True


def applied_layer(layer: Layer) -> Layer:
    """Return the layer that time_distributed applies, or any other layer itself."""
    while layer.type == "time_distributed":
        layer = vars(layer)["layer"].layer
    return layer


def _ends_in_probabilities(layer: Layer) -> bool:
    if layer.type == "softmax":
        return True
    return layer.type not in RECURRENT and _activation(layer) in FUNCTIONS


def _keeps_range(layer: Layer) -> bool:
    return layer.type in KEEPING or (layer.type == "activation" and _activation(layer) in KEEPING_FUNCTIONS)


def _activation(layer: Layer) -> str:
    """Return the name of the function that a layer applies last, or an empty string."""
    options = vars(layer)
    # softmax(x @ weight) of the layer expression applies it to all else
    function = getattr(options["formula"].root, "function", None) if "formula" in options else options.get("activation")
    name: str = getattr(function, "name", "")
    return name
