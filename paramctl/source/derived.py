"""Sources that one operation derives from another: other names, other dtypes, other ties. No values are copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paramctl.address.rename import renamer
from paramctl.core.dtypes import Array, CastLoss, checked_cast
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.model import Model, Tie
from paramctl.source.base import Derived, Source
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import Origin, Piece, Provenance, Recorded, RecordedSum, blocks, read_alias


class Renamed(Derived):
    """A source whose parameters have other names. old_names: the name of each in the base."""

    def __init__(
        self, base: Source, model: Model, old_names: Mapping[str, str], origin: Origin, **options: Any
    ) -> None:
        super().__init__(base, model, origin, "rename", **options)
        self.old_names = old_names

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        sums = self.base.recorded_sums() if isinstance(self.base, Recorded) else {}
        return {path: sums[old] for path, old in self.old_names.items() if old in sums}

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter)  # the base's pieces have the old names

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(self.old_names[path], start, stop)


def rename(source: Source, rules: Sequence[str]) -> Renamed:
    """Return a source under the names that rules give: PATTERN=NAME, the first that matches. Raises AddressError."""
    model = source.model
    new_name = renamer(rules, model)
    parameters = {
        new_name(path): replace(parameter, path=new_name(path)) for path, parameter in model.parameters.items()
    }
    ties = tuple(Tie(new_name(tie.kept), new_name(tie.tied), tie.transpose) for tie in model.ties)
    renamed, _ = build_model(model.name, parameters, ties)
    old_names = {new_name(path): path for path in model.parameters}
    # attributes, extents, and the layout of a Keras file belong to the old names, so they are not carried over
    origin = replace(
        source.origin,
        companion=None,
        provenance=_move_provenance(source, old_names),
        document=source.origin.document or model.document,
        keras=None,
        extents={},
        rewrite=None,
    )
    if state := [path for path, parameter in parameters.items() if not parameter.is_parameter]:
        renamed = replace(renamed, optimizer=state)
        origin = replace(origin, optimizer=None)  # it is among the arrays, under other names
    return Renamed(source, renamed, old_names, origin, rules=list(rules))


def _move_provenance(source: Source, old_names: Mapping[str, str]) -> dict[str, Provenance]:
    """Return the provenance of arrays by their new names."""
    provenance = source.origin.provenance
    return {new: provenance[old] for new, old in old_names.items() if old in provenance}


def _cast_provenance(base: Source, typed: Model) -> dict[str, Provenance]:
    """Return the provenance of arrays in the dtypes of a model."""
    before, after = base.model.parameters, typed.parameters
    return {
        path: known if before[path].dtype == after[path].dtype else known.cast()
        for path, known in base.origin.provenance.items()
        if path in after
    }


class Cast(Derived):
    """A source whose arrays have the dtypes of ``model``. losses: the allowed losses, by path (see checked_cast)."""

    keeps_values = True

    def __init__(self, base: Source, model: Model, losses: Callable[[str], frozenset[str]], **options: Any) -> None:
        # a copy of the file would keep its dtypes, so its values cannot be changed there
        origin = replace(base.origin, extents={}, provenance=_cast_provenance(base, model))
        super().__init__(base, model, origin, "cast", **options)
        self.losses = losses

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.cast(path, self.base.read(path, start, stop))

    def cast(self, path: str, values: Array) -> Array:
        """Return values of an array in its dtype. Raises OutputError for a loss that is not allowed."""
        try:
            return checked_cast(values, self.model.parameters[path].dtype, self.losses(path))
        except CastLoss as loss:
            raise OutputError(f"{path}: {loss} (use --allow {loss.kind} to cast it anyway)") from loss


class Partial(Derived):
    """A source whose file lacks parameters of its configuration, which are allowed to be missing."""

    keeps_values = True

    def __init__(self, base: Source, allowed: Sequence[str]) -> None:
        super().__init__(base, base.model, replace(base.origin, missing={}), "partial", allowed=list(allowed))

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(path, start, stop)


class Retied(Derived):
    """A source under other ties. A name that is no longer tied keeps its values."""

    keeps_values = True

    def __init__(self, base: Source, model: Model) -> None:
        ties = [[tie.kept, tie.tied, tie.transpose] for tie in model.ties]
        # a copy of the file would keep its ties, and a value changed there would change under both names
        super().__init__(base, model, replace(base.origin, extents={}), "retie", ties=ties)

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        # a drawn source has no pieces of an array that is another's under a second name
        return blocks(parameter) if parameter.path in self.base.model.tied else self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        return read_alias(self.base, path, start, stop)


class Marked(Derived):
    """A source in which some arrays are trainable or frozen. paths: of the arrays, not of names tied to them."""

    keeps_values = True

    def __init__(self, base: Source, paths: Sequence[str], trainable: bool) -> None:
        # a copy of the file would keep its record
        origin = replace(base.origin, extents={}, marked=True)
        model = with_trainable(base.model, paths, trainable)
        super().__init__(base, model, origin, "mark", paths=list(paths), trainable=trainable)

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(path, start, stop)


def with_trainable(model: Model, paths: Collection[str], trainable: bool) -> Model:
    """Return a model in which these arrays are trainable or frozen, under all of their names."""
    marked = set(paths)
    return model.map_parameters(
        lambda each: replace(each, trainable=trainable) if model.owner(each.path).path in marked else each
    )
