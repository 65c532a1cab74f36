"""The values that an array is expected to have: by its kind, and by the scheme that its file records.

Equal values are a fault of weights alone: biases, scales and states often start as zeros or ones.
"""

from __future__ import annotations

import re
from functools import lru_cache

from paramctl.core.parameter import Axis, Parameter, ParameterKind
from paramctl.declare.located import Located
from paramctl.errors import DocumentError
from paramctl.init.distributions import Constant, Distribution
from paramctl.init.fans import CONVENTIONS
from paramctl.init.parse import parse_call_text
from paramctl.init.registry import SchemeMismatch, Target, distribution_if_applicable, format_scheme
from paramctl.inspect.check.facts import Facts
from paramctl.source.base import Source

WEIGHT_NAMES = frozenset(
    ("weight", "kernel", "weights", "embedding", "embeddings", "w", "recurrent_kernel", "depthwise_kernel")
)
"""The last names of weights in the files of the frameworks, which record no kinds."""

OFTEN_CONSTANT = re.compile(
    r"bias|beta|gamma|scale|norm|running|moving|variance|mean$|zero|mask$|tokens?$|token_type|position|pos_|gate$|inv_freq",
    re.IGNORECASE,
)
"""Words in the names of arrays that are constant in healthy models: offsets, scales, masks and learned positions."""

ADAPTER_OUTPUT = re.compile(r"lora_b|lora_up|lora\.up", re.IGNORECASE)
"""Names of the second factors of adapters, which start as zeros."""


def is_weight(parameter: Parameter) -> bool:
    """Return True for an array whose equal values are a fault: a weight of floating-point or complex numbers.

    A file of another program records no kinds: its weights have two axes or more and a name of weights, or two axes of
    several values each and no name of arrays that are often constant.
    """
    if parameter.dtype == "bool" or "int" in parameter.dtype:
        return False
    if parameter.kind != "unknown":
        return parameter.kind == "weight" and parameter.size > 1
    if len(parameter.shape) < 2 or ADAPTER_OUTPUT.search(parameter.path):
        return False
    names = [name for name in re.split(r"[./:]", parameter.path) if not name.isdigit()] or [""]
    # the layer and the array alone: all weights of a mask_head or of gate_proj are weights
    if OFTEN_CONSTANT.search(".".join(names[-2:])):
        return False
    return names[-1] in WEIGHT_NAMES or sum(size > 1 for size in parameter.shape) > 1


def recorded_laws(source: Source, path: str) -> list[Distribution]:
    """Return the distributions that the recorded scheme of an array gives it, one for each convention of fans.

    None if no scheme is recorded, or if it is not one of paramctl's own with simple options: the code of a user never
    runs for a name in a file. The record does not say by which convention fans were computed.
    """
    recorded = source.origin.provenance.get(path)
    if recorded is None or recorded.scheme is None:
        return []
    parameter = source.model.parameters[path]
    return _laws(recorded.scheme, parameter.axes, parameter.kind)


def constant_scheme(source: Source, path: str, facts: Facts) -> str:
    """Return the scheme by which all values of an array are equal, as they are; empty if no scheme is known.

    It is the recorded one or, for an array without a record, the one that its layer declares.
    """
    recorded = source.origin.provenance.get(path)
    declared = source.model.parameters[path].initializer
    if recorded is not None and recorded.scheme is not None:
        scheme, laws = recorded.scheme, recorded_laws(source, path)
    elif declared is not None:
        scheme, laws = format_scheme(declared), _law(declared, source.model.parameters[path])
    else:
        return ""
    ends = [part.minimum for part in facts.tally.parts]
    constants = [law.value for law in laws if isinstance(law, Constant)]
    return scheme if any(abs(value - ends[0]) <= abs(value) / 16 for value in constants) else ""


@lru_cache(maxsize=4096)
def _laws(scheme: str, axes: tuple[Axis, ...], kind: ParameterKind) -> list[Distribution]:
    call = re.fullmatch(r"(\w+)(?:\(([^()\[\]{}]*)\))?", scheme)
    if call is None:
        return []
    try:
        node = parse_call_text(f"{call[1]}:{call[2].replace(', ', ',')}" if call[2] else call[1], "scheme")
    except DocumentError:
        return []
    laws: list[Distribution] = []
    for law in _law(node, Parameter("", axes, kind)):
        laws += [law] if law not in laws else []
    return laws


def _law(node: Located, parameter: Parameter) -> list[Distribution]:
    laws = []
    for convention in CONVENTIONS:
        try:
            laws.append(distribution_if_applicable(node, Target.of(parameter, convention)))
        except (DocumentError, SchemeMismatch):
            continue
    return laws
