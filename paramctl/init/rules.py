"""Which scheme each parameter gets, and why.

The first that applies: its layer's own initializer; the document's ``initializers``, for what is
trained; its type's default.
"""

from typing import NamedTuple

from paramctl.address import pattern
from paramctl.init import schemes
from paramctl.init.distributions import Law
from paramctl.model import Model
from paramctl.node import Node
from paramctl.parameter import Axis, Parameter


class Chosen(NamedTuple):
    """What a parameter gets: the scheme in words, its law, and the rule that chose it."""

    scheme: str
    law: Law
    why: str


def choose(model: Model) -> dict[str, Chosen]:
    """The choice for each stored parameter of a model, by path.

    Raises DocumentError where a scheme is unknown, misspelt or does not fit its parameter.
    """
    patterns = [(text, pattern(text), node) for text, node in model.initializers]
    for _, _, node in patterns:
        schemes.look_up(node)
    chosen = {}
    alike: dict[tuple[int, tuple[Axis, ...]], tuple[str, Law]] = {}  # most layers of a network are one of a few
    for parameter in model.owners():
        node, why = _own(parameter)
        if node.place is None and parameter.trainable:
            for text, matches, scheme in patterns:
                if matches(parameter.path):
                    node, why = scheme, f"initializers: {text}"
                    break
        key = (id(node), parameter.axes)
        if key not in alike:
            law = schemes.law(node, parameter)  # first: it checks what the text then takes for granted
            alike[key] = schemes.text(node), law
        chosen[parameter.path] = Chosen(*alike[key], why)
    return chosen


def _own(parameter: Parameter) -> tuple[Node, str]:
    """What its layer says: an initializer that somebody wrote, or the type's default."""
    node = parameter.initializer
    assert node is not None, f"{parameter.path} has no initializer"
    return node, "the type's default" if node.place is None else "its layer's own"
