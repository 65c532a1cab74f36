"""A source with a framework's own initial values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paramctl.address.quoting import shell_quoted
from paramctl.conversion.exact.order import parse_order
from paramctl.conversion.exact.plan import ExactPlan, Framework
from paramctl.errors import AddressError
from paramctl.init.rules import AssignedScheme
from paramctl.model import Block, Model
from paramctl.source.arranged import MIN_SLAB_BYTES, Arranged
from paramctl.source.base import Description
from paramctl.source.describe import assigned_to_json, model_to_json
from paramctl.source.replayed import Replayed
from paramctl.store.contents import Provenance

CLOSE = "close"
"""The word that allows values which do not have the framework's bits."""
LISTED = 3


class Exactly(Arranged):
    """A model with the initial values that a framework gives it.

    assigned: the scheme of each stored parameter, by path; see Framework.plan.
    order: the items of the order of construction, as text; see order.py.
    close: True to allow values that do not have the framework's bits.
    tensors: the framework's own tensors, in its layout.
    """

    def __init__(
        self,
        model: Model,
        framework: Framework,
        assigned: Mapping[str, AssignedScheme],
        seed: int,
        order: Sequence[str] = (),
        close: bool = False,
    ) -> None:
        from paramctl.conversion.exact.laws import distribution_of  # the engines of all frameworks

        plan = framework.plan(model, assigned, parse_order(order))
        if not close:
            _refuse_close(plan, framework)
        tensors = Model(model.name, (), (), (Block("tensors", "group", None, (), tuple(plan.tensors.values())),))
        self.tensors = Replayed(tensors, plan.engine, plan.requests, seed, self.describe, _reread(plan))
        super().__init__(self.tensors, model, plan.arrangements, "exactly")
        self.framework, self.plan, self.seed, self.order, self.close = framework, plan, seed, [*order], close
        self.assigned = {
            path: scheme._replace(
                scheme=plan.schemes.get(path, scheme.scheme),
                # not paramctl's own, whose fans may differ
                distribution=distribution_of(plan.arrangements[path], plan.requests),
            )
            for path, scheme in assigned.items()
        }
        provenance = {
            path: Provenance(scheme.scheme, seed, exactly=plan.promises[path].text)
            for path, scheme in self.assigned.items()
        }
        self.origin = replace(self.origin, provenance=provenance)
        sources = {path: arrangement.paths for path, arrangement in plan.arrangements.items()}
        by_tensor = {name: provenance[path] for path, names in sources.items() for name in names}
        self.tensors.origin = replace(self.tensors.origin, provenance=by_tensor)

    def describe(self) -> Description:
        assigned = {path: assigned_to_json(scheme) for path, scheme in self.assigned.items()}
        options = {"framework": self.framework.name, "seed": self.seed, "order": self.order, "close": self.close}
        return {"source": self.operation, "assigned": assigned, **options, **model_to_json(self.model)}


def _reread(plan: ExactPlan) -> set[str]:
    """Return the tensors that are rearranged in several slabs, each of which passes over the whole tensor."""
    moved = (arrangement for arrangement in plan.arrangements.values() if not arrangement.is_identity)
    names = {name for arrangement in moved for name in arrangement.paths}
    return {name for name in names if plan.tensors[name].bytes > MIN_SLAB_BYTES}


def _refuse_close(plan: ExactPlan, framework: Framework) -> None:
    """Raise AddressError if some values do not have the framework's bits."""
    close = [path for path, promise in plan.promises.items() if not promise.is_exact]
    if close:
        names = ", ".join(map(shell_quoted, close[:LISTED])) + (", ..." if len(close) > LISTED else "")
        rule = f"--exactly {framework.name}: {plan.promises[close[0]].text}; add --allow {CLOSE} to accept that"
        raise AddressError(rule, names)
