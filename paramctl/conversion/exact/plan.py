"""The plan of a framework's own initial values, and the protocol of the frameworks that make such plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from paramctl.conversion.exact.order import OrderItem
from paramctl.core.parameter import Parameter
from paramctl.core.views import Arrangement
from paramctl.init.engines.base import DrawRequest, Engine
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model


class Promise(NamedTuple):
    """The agreement of a parameter's values with the framework's.

    is_exact: True for equal bits, False if the values are only close.
    text: where that holds, ``torch>=2.12, x86-64 with AVX2``; or why the values are only close.
    """

    is_exact: bool
    text: str


@dataclass(frozen=True, slots=True)
class ExactPlan:
    """The draws of a framework that constructs a model, and the place of each value in the model.

    engine: the generator.
    requests: the draws in the framework's order, by name. A tensor that is drawn again has a name for each draw, and
        draws whose values are thrown away have names too.
    tensors: the framework's tensors that are read, by the name of the draw that gives their values.
    arrangements: each stored parameter of the model as an arrangement of these tensors, by path.
    promises: how far the values of each stored parameter agree, by path.
    schemes: the framework's name for the law of each stored parameter, by path: ``kaiming_uniform_(a=sqrt(5))``.
    """

    engine: Engine
    requests: Mapping[str, DrawRequest]
    tensors: Mapping[str, Parameter]
    arrangements: Mapping[str, Arrangement]
    promises: Mapping[str, Promise]
    schemes: Mapping[str, str] = field(default_factory=dict)


class Framework(Protocol):
    """A framework, on one of its backends, whose initial values are known.

    name: by which a user chooses it, ``torch`` or ``keras:jax``.
    preset: the preset of its default initializers.
    """

    @property
    def name(self) -> str: ...

    @property
    def preset(self) -> str: ...

    def plan(self, model: Model, assigned: Mapping[str, AssignedScheme], order: Sequence[OrderItem]) -> ExactPlan:
        """Return the plan of a model.

        assigned: the scheme of each stored parameter, by path. Its ``node`` is the scheme as written, or None for the
            default of the layer's type.
        order: the order of construction; empty for the document's.
        Raises AddressError for a layer or a scheme whose values in the framework are unknown, and for an item of the
        order that it does not support.
        """
        ...
