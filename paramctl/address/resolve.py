"""Resolve addresses: find the parameters and blocks of a model that an address matches.

Either name of a tied parameter can be used. An address that matches a block selects all parameters in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from paramctl.address.expressions import full_matches
from paramctl.address.grammar import Address, index_of, parse_address
from paramctl.address.path_index import PathIndex
from paramctl.address.patterns import ANY_NAMES, NamePattern, compile_names
from paramctl.address.places import Places
from paramctl.address.quoting import nearest_address_hint, similar_address_hint
from paramctl.address.tree import NamedTree
from paramctl.core.indexing import Index
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError

OF_FILES = ("unknown", "optimizer")
"""The kinds that arrays have in a file that records no kinds."""


class Filters(NamedTuple):
    """Conditions on parameters besides their address. None accepts every value."""

    trainable: bool | None = None
    dtype: str | None = None
    kind: str | None = None
    min_size: int | None = None

    def __call__(self, parameter: Parameter) -> bool:
        return (
            self.trainable in (None, parameter.trainable)
            and self.dtype in (None, parameter.dtype, parameter.stored_dtype)
            and self.kind in (None, parameter.kind)
            and (self.min_size is None or parameter.size >= self.min_size)
        )

    def check_any(self, rule: str, received: str, parameters: Sequence[Parameter]) -> None:
        """Raise AddressError if none of these parameters passes. The hint says if the file does not record a fact."""
        hint = self._unrecorded(parameters)
        if not hint:
            self._check_all_recorded(parameters)
        if not any(self(parameter) for parameter in parameters):
            raise AddressError(rule, received, hint)

    def check_recorded(self, name: str, parameters: Sequence[Parameter]) -> None:
        """Raise AddressError if the file does not record of these parameters what a filter tests."""
        if parameters and (hint := self._unrecorded(parameters)):
            raise AddressError(*_none_pass(name, parameters), hint)
        self._check_all_recorded(parameters)

    def _check_all_recorded(self, parameters: Sequence[Parameter]) -> None:
        """Raise AddressError if the file records of only some of these parameters whether they are trainable.

        The others may belong to the selection or not, so its values and counts would be wrong without a word.
        """
        others = self._replace(trainable=None)
        unknown = [parameter.path for parameter in parameters if parameter.trainable is None and others(parameter)]
        if self.trainable is not None and unknown:
            rule = "a filter by trainable requires parameters for which the file records it"
            more = f" and {len(unknown) - 1:,} more, for which it does not" if len(unknown) > 1 else ""
            raise AddressError(rule, f"{unknown[0]}{more}")

    def _unrecorded(self, parameters: Sequence[Parameter]) -> str:
        """Return a hint if the file does not record what a filter tests, or an empty string."""
        if self.kind not in (None, "optimizer") and all(parameter.kind in OF_FILES for parameter in parameters):
            return "This file does not record the kinds of its parameters."
        if self.kind == "optimizer" and all(parameter.is_parameter for parameter in parameters):
            return "Add --state for the optimizer's state."
        if self.trainable is not None and all(parameter.trainable is None for parameter in parameters):
            return "This file does not record which parameters are trainable."
        return ""


def _none_pass(name: str, parameters: Sequence[Parameter]) -> tuple[str, str]:
    return f"{name}: no selected parameter passes the filters", f"{len(parameters):,} parameters"


NO_FILTERS = Filters()


class Match(NamedTuple):
    """The parameters that an address matches, in the model's order, and the slice of each."""

    paths: list[str]
    indices: tuple[Index, ...] | None
    is_pattern: bool


def resolve(model: NamedTree, text: str) -> Match:
    """Return the parameters that an address matches. Raises AddressError if it is malformed or matches nothing."""
    address = _parse(model, text)
    places = model.places
    exact, inside = _find_parameters(places, address)
    # ``dense`` is a parameter of that name, or, if no parameter has it, all parameters of the block.
    paths = places.parameters.ordered(exact) or places.parameters.ordered(inside) or _find_aliases(places, address)
    if not paths:
        _check_not_elsewhere(model, address)
        nearest = nearest_address_hint(address.text, model.parameters, model.separator)
        hint = nearest if address.text in model.parameters else places.range_hint(address.segments) or nearest
        raise AddressError(f"{model.name} has no parameter with this name", repr(address.text), hint)
    return Match(paths, address.indices, address.is_pattern)


def _parse(model: NamedTree, text: str) -> Address:
    """Return the address in a text. The error for a name of the model that requires quotes shows them."""
    try:
        return parse_address(text, model.separator, model.parameters)
    except AddressError as error:
        if text not in model.parameters:
            raise
        hint = similar_address_hint(text, [text], model.separator)
        raise AddressError(error.rule, error.received, hint) from None


def resolve_whole(model: NamedTree, text: str, action: str) -> list[str]:
    """Return the paths that an address matches, for an action on whole parameters, such as ``tied``.

    Raises AddressError if the address is malformed, matches nothing, or has a slice.
    """
    match = resolve(model, text)
    if match.indices is not None:
        raise AddressError(f"only whole parameters can be {action}, not slices", repr(text))
    return match.paths


def resolve_all(
    model: NamedTree, addresses: Sequence[str], keep: Filters = NO_FILTERS
) -> list[tuple[str, tuple[Index, ...] | None]]:
    """Return the parameters that addresses match, with the slice of each, in the model's order and without repeats.

    Without addresses, return every array once.
    Raises AddressError if an address is malformed or matches nothing, or if the filters exclude everything.
    """
    if addresses:
        matches = [resolve(model, text) for text in addresses]
        selected = dict.fromkeys((path, match.indices) for match in matches for path in match.paths)
    else:
        selected = dict.fromkeys((parameter.path, None) for parameter in model.owners())
    parameters = [model.parameters[path] for path, _ in selected]
    if parameters:
        keep.check_any(*_none_pass(model.name, parameters), parameters)
    kept = [(path, indices) for path, indices in selected if keep(model.parameters[path])]
    order = model.places.parameters.order
    return sorted(kept, key=lambda selection: order[selection[0]])


def subtree_matcher(model: NamedTree, *texts: str) -> Callable[[str], bool]:
    """Return a function that tests whether the path of a block or parameter is in what an address matches.

    Raises AddressError if an address is malformed, has a slice, or matches nothing.
    """
    return set().union(*(_subtree(model, text) for text in texts)).__contains__


def _subtree(model: NamedTree, text: str) -> set[str]:
    """Return the paths of the blocks and parameters in what an address matches."""
    address = _parse(model, text)
    if address.indices is not None:
        raise AddressError("a slice selects values, but whole parameters are required here", repr(text))
    places = model.places
    exact, inside = _find_parameters(places, address)
    blocks = _find_blocks(places, address)
    if not exact and not inside and not blocks:
        _check_not_elsewhere(model, address)
        known = [*dict.fromkeys(block.path for block in model.walk()), *model.parameters]
        hint = places.range_hint(address.segments) or nearest_address_hint(address.text, known, model.separator)
        raise AddressError(f"{model.name} has no layer or parameter with this name", repr(text), hint)
    return {*exact, *inside, *blocks}


def resolve_blocks(model: NamedTree, text: str) -> list[str]:
    """Return the paths of the blocks that a pattern matches, without those inside them, in the model's order.

    Raises AddressError if it is malformed, has a slice, or matches no block.
    """
    address = parse_address(text, model.separator, model.parameters)
    if address.indices is not None:
        raise AddressError("a slice selects values, but layers are required here", repr(text))
    index = model.places.blocks
    if address.expression is not None:
        paths = [*full_matches(address.expression, index.order)]
    elif address.names and any(name.has_wildcards for name in address.names):
        paths = [*filter(compile_names(address.names, model.separator), index.order)]
    else:
        names = index.exact("/".join(name.text for name in address.names)) if address.names else []
        paths = names or [place.path for place in model.places.follow(address.segments) if place.path in index.order]
    if not paths:
        hint = nearest_address_hint(address.text, [*index.order], model.separator)
        raise AddressError(f"{model.name} has no layer with this name", repr(text), hint)
    return index.ordered(paths)


def _find_parameters(places: Places, address: Address) -> tuple[Collection[str], Collection[str]]:
    """Return the paths of the parameters that an address matches, and of those inside blocks that it matches."""
    paths = places.model.parameters
    if address.expression is not None:
        return full_matches(address.expression, paths), ()
    if address.names:
        # Fast: names alone are matched against whole paths, without building the tree.
        exact, inside = _match_names(places.parameters, address.names)
        # only an index, such as 0 in 0/kernel, can lead elsewhere than names do
        if exact or inside or not any(index_of(name) is not None for name in address.names):
            return exact, inside
    reached = places.follow(address.segments)
    below = (inner.path for place in reached for inner in place.descendants() if inner.is_parameter)
    return [place.path for place in reached if place.is_parameter], [*below]


def _match_names(index: PathIndex, names: Sequence[NamePattern]) -> tuple[list[str], list[str]]:
    """Return the paths that names match, and the paths below those."""
    if not any(name.has_wildcards for name in names):
        text = "/".join(name.text for name in names)
        return index.exact(text), index.below(text)
    matches = compile_names(names, index.separator)
    matches_below = compile_names([*names, ANY_NAMES], index.separator)
    return [path for path in index.order if matches(path)], [path for path in index.order if matches_below(path)]


def _find_blocks(places: Places, address: Address) -> Collection[str]:
    """Return the paths of the blocks that an address matches, and of all blocks inside them."""
    if address.expression is not None:
        return full_matches(address.expression, places.blocks.order)
    if address.names:
        exact, below = _match_names(places.blocks, address.names)
        if exact or below:
            return [*exact, *below]
    return [inner.path for place in places.follow(address.segments) for inner in place.descendants()]


def _check_not_elsewhere(model: NamedTree, address: Address) -> None:
    """Raise AddressError for an address that matches arrays of an optimizer, or content that is no array of numbers."""
    if _in_state(model, address):
        rule = f"{model.name}: only the optimizer's state has this name"
        raise AddressError(rule, repr(address.text), "Add --state.")
    if not address.names:
        return
    matches = compile_names(address.names, model.separator)
    for name, kind in model.skipped.items():
        if matches(name):
            raise AddressError(f"{model.name}: {name} is not an array of numbers, but {kind}", repr(address.text))


def _in_state(model: NamedTree, address: Address) -> bool:
    """Return whether an address matches an array of an optimizer in the file, or a group of such arrays."""
    if address.expression is not None:
        return bool(full_matches(address.expression, model.optimizer))
    return bool(address.names) and any(_match_names(PathIndex(model.optimizer, model.separator), address.names or []))


def _find_aliases(places: Places, address: Address) -> list[str]:
    """Return the parameters that the file stores under a name which the address matches."""
    names = address.names
    if not places.model.aliases or names is None:
        return []
    if not address.is_pattern:
        return places.stored_names.get("/".join(name.text for name in names), [])
    matches = compile_names(names, "/")
    return [path for path, alias in places.model.aliases.items() if matches(alias)]
