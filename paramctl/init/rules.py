"""Which scheme each parameter gets, and why.

The first that applies: its layer's own initializer; the document's ``initializers``, for what is
trained; its type's default.
"""

from typing import NamedTuple

from paramctl.address import is_pattern, pattern
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
    patterns = []  # (position, pattern, test, scheme): the first that matches counts
    exact: dict[str, tuple[int, str, Node | None]] = {}  # the same for a plain name
    for position, (text, scheme) in enumerate(model.initializers):
        schemes.look_up(scheme)
        if is_pattern(text):
            patterns.append((position, text, pattern(text), scheme))
        else:
            exact.setdefault(text, (position, text, scheme))
    none: tuple[int, str, Node | None] = (len(model.initializers), "", None)
    chosen = {}
    alike: dict[tuple[int, tuple[Axis, ...]], tuple[str, Law]] = {}  # most layers of a network are one of a few
    for parameter in model.owners():
        node, why = _own(parameter)
        if node.place is None and parameter.trainable:
            position, text, rule = exact.get(parameter.path, none)
            for earlier, other, matches, its_scheme in patterns:
                if earlier < position and matches(parameter.path):
                    text, rule = other, its_scheme
                    break
            if rule is not None:
                node, why = rule, f"initializers: {text}"
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
