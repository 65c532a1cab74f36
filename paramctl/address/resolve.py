"""Selection: what an address on the command line means in a model. One grammar, for every command.

    block2/block-1/dense/bias     names, joined by ``/``; in a file whose names hold none, by ``.``
    block-*/**/kernel             ``*`` and ``?`` within a name, ``**`` any number of names
    0/1/1/bias   -1/kernel        a layer, or a parameter of one, by its place; a name beats a place
    layers[0].layers[1].weights[1]    the same as Python has it
    'a[0]'/b                      a name as it is, in quotes
    re:.*bias                     a regular expression for the whole path
    dense/kernel[0, :5]           and a slice of the values, as NumPy has it, after any but the last

Either name of a tied pair resolves. What matches a block means all below it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from typing import NamedTuple

from paramctl.address.patterns import ANY_NAMES, MAX_ADDRESS, NamePattern, compile_names, nearest_hint
from paramctl.address.tree import NamedBlock, NamedTree
from paramctl.core.indexing import Index, parse_slice
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError

_PYTHON = r"(?:layers|weights)\[-?\d{1,9}\](?:\.(?:layers|weights)\[-?\d{1,9}\]|\.[^\W\d]\w*)*"
_PYTHON_PART = r"(layers|weights)\[(-?\d+)\]|(\w+)"
_PLACE = r"-?\d{1,9}"  # texts, compiled when an address is read: most commands have none


class WeightIndex(NamedTuple):
    """The parameter at a place among all those of a layer or model, as Keras' ``weights`` has them."""

    place: int


class LayerIndex(NamedTuple):
    """The layer at a place, as Keras' ``layers`` has them."""

    place: int


Segment = NamePattern | WeightIndex | LayerIndex


class Address(NamedTuple):
    """An address, parsed. segments: None for a regular expression; loose: it may match anything but one name."""

    text: str
    segments: tuple[Segment, ...] | None
    expression: re.Pattern[str] | None
    indices: tuple[Index, ...] | None

    @property
    def is_pattern(self) -> bool:
        return self.segments is None or any(
            isinstance(each, NamePattern) and each.has_wildcards for each in self.segments
        )


class Filters(NamedTuple):
    """What a parameter must be beside matching an address; None is anything."""

    trainable: bool | None = None
    dtype: str | None = None
    kind: str | None = None
    min_size: int | None = None

    def __call__(self, parameter: Parameter) -> bool:
        return (
            self.trainable in (None, parameter.trainable)
            and self.dtype in (None, parameter.dtype)
            and self.kind in (None, parameter.kind)
            and (self.min_size is None or parameter.size >= self.min_size)
        )

    def unknown_hint(self, parameters: Collection[Parameter]) -> str:
        """A hint, if what is asked of these parameters is known of none: many files do not tell it."""
        if self.kind is not None and all(each.kind == "unknown" for each in parameters):
            return "This file does not tell of which kind each is."
        if self.trainable is not None and all(each.trainable is None for each in parameters):
            return "This file does not tell which are trained."
        return ""


NO_FILTERS = Filters()


def parse_address(text: str, separator: str = "/", names: Container[str] = ()) -> Address:
    """An address, parsed; names: those there are, which Python's form does not hide.

    Raises AddressError, with the character, if it is malformed.
    """
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"an address may have at most {MAX_ADDRESS:,} characters", f"{len(text):,}")
    text = text.strip()
    if text.startswith("re:"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Address(text, None, re.compile(text[3:]), None)
        except (OverflowError, RecursionError) as error:
            raise AddressError(f"a regular expression is wrong: {error}", repr(text)) from None
        except re.error as error:
            at = f" (character {error.pos + 4})" if error.pos is not None else ""
            raise AddressError(f"a regular expression is wrong: {error.msg}{at}", repr(text)) from None
    python = re.match(_PYTHON, text)
    if python and text.partition("[")[0] not in names:
        rest = text[python.end() :]
        if not rest or rest.startswith("["):
            parts = tuple(_python_part(*part.groups()) for part in re.finditer(_PYTHON_PART, python.group()))
            return Address(text, parts, None, parse_slice(rest, python.end(), text) if rest else None)
    segments, end = _segments(text, "./" if separator == "." else "/")
    return Address(text, segments, None, parse_slice(text[end:], end, text) if end < len(text) else None)


def _python_part(what: str | None, place: str | None, name: str | None) -> Segment:
    if name is not None:
        return NamePattern(name, False)
    return WeightIndex(int(place or 0)) if what == "weights" else LayerIndex(int(place or 0))


def _segments(text: str, separators: str) -> tuple[tuple[Segment, ...], int]:
    """The segments up to a slice or the end, and where that is."""
    segments: list[Segment] = []
    place = 0
    while True:
        if text[place : place + 1] in ("'", '"') and text[place:]:
            end = text.find(text[place], place + 1)
            if end < 0:
                raise AddressError(f"a quote has no end (character {place + 1})", repr(text))
            segments.append(NamePattern(text[place + 1 : end], False))
            place = end + 1
            if place < len(text) and text[place] not in f"{separators}[":
                raise AddressError(f"after a quoted name comes '/' or '[' (character {place + 1})", repr(text))
        else:
            begin = place
            while place < len(text) and text[place] not in f"{separators}[":
                place += 1
            if begin == place:
                raise AddressError(f"a name in an address may not be empty (character {begin + 1})", repr(text))
            segments.append(NamePattern(text[begin:place], True))
        if place == len(text) or text[place] == "[":
            return tuple(segments), place
        place += 1


class Match(NamedTuple):
    """What an address means: the paths of parameters, in the model's order, and the slice of each."""

    paths: list[str]
    indices: tuple[Index, ...] | None
    is_pattern: bool


def resolve(model: NamedTree, text: str) -> Match:
    """What an address means in a model. Raises AddressError if it is malformed or matches nothing."""
    of = parse_address(text, model.separator, model.parameters)
    tree = _Tree(model)
    exact, below = tree.find(of)
    if not exact and not below and (meant := _by_stored_path(of, model)):
        return Match(meant, of.indices, of.is_pattern)
    paths = [path for path in model.parameters if path in exact] or [path for path in model.parameters if path in below]
    if not paths:
        raise _no_match(of, model, tree)
    return Match(paths, of.indices, of.is_pattern)


def resolve_whole(model: NamedTree, text: str, what: str) -> list[str]:
    """The paths that an address means, where ``what`` is done to whole parameters. Raises AddressError for a slice."""
    found = resolve(model, text)
    if found.indices is not None:
        raise AddressError(f"whole parameters are {what}, and this names a slice", repr(text))
    return found.paths


def _by_stored_path(of: Address, model: NamedTree) -> list[str]:
    """The parameters that a file keeps under paths which the address matches."""
    if not model.stored or of.segments is None:
        return []
    texts = [each for each in of.segments if isinstance(each, NamePattern)]
    matches = compile_names(texts, "/") if len(texts) == len(of.segments) else None
    return [path for path, stored in model.stored.items() if matches is not None and matches(stored)]


def _no_match(of: Address, model: NamedTree, tree: _Tree) -> AddressError:
    hint = nearest_hint(of.text, [*model.parameters])
    return AddressError(f"{model.name} has no parameter of this name", repr(of.text), tree.beyond(of) or hint)


def resolve_all(
    model: NamedTree, addresses: Sequence[str], keep: Filters = NO_FILTERS
) -> list[tuple[str, tuple[Index, ...] | None]]:
    """The parameters that addresses mean, and the slice of each, in the model's order and never twice.

    Without an address, every array once. Raises AddressError for one that is malformed or matches nothing, and if
    the filters leave nothing.
    """
    if addresses:
        found = dict.fromkeys(
            (path, of.indices) for of in (resolve(model, text) for text in addresses) for path in of.paths
        )
    else:
        found = dict.fromkeys((parameter.path, None) for parameter in model.owners())
    kept = [each for each in found if keep(model.parameters[each[0]])]
    if found and not kept:
        rule = f"{model.name}: no parameter that is asked for passes the filters"
        raise AddressError(
            rule, f"{len(found):,} parameters", keep.unknown_hint([model.parameters[path] for path, _ in found])
        )
    order = {path: place for place, path in enumerate(model.parameters)}
    return sorted(kept, key=lambda each: order[each[0]])


def subtree_matcher(model: NamedTree, text: str) -> Callable[[str], bool]:
    """Whether the path of a block or parameter is what an address means, or lies below it.

    Raises AddressError if it is malformed, has a slice, or means nothing in the model.
    """
    of = parse_address(text, model.separator, model.parameters)
    if of.indices is not None:
        raise AddressError("a slice is of values, and here whole parameters are meant", repr(text))
    tree = _Tree(model)
    exact, below = tree.find(of)
    blocks = tree.blocks(of)
    if not exact and not below and not blocks:
        hint = tree.beyond(of) or nearest_hint(
            of.text, [*dict.fromkeys(b.path for b in model.walk()), *model.parameters]
        )
        raise AddressError(f"{model.name} has no layer or parameter of this name", repr(text), hint)
    return (exact | below | blocks).__contains__


class _Place:
    """A block, a parameter, or a name between them. counted: what a place among its layers means."""

    def __init__(self, path: str, parameter: bool = False) -> None:
        self.path, self.parameter = path, parameter
        self.named: dict[str, _Place] = {}
        self.counted: list[_Place] = []
        self.layers: list[_Place] = []

    def below(self) -> Iterator[_Place]:
        """Itself and all below it."""
        stack, seen = [self], set()
        while stack:
            place = stack.pop()
            if id(place) not in seen:
                seen.add(id(place))
                yield place
                stack.extend(reversed([*place.named.values(), *place.counted]))


class _Tree:
    """A model's names and places, made once they are asked for."""

    def __init__(self, model: NamedTree) -> None:
        self.model = model
        self._root: _Place | None = None
        self.used: dict[str | None, _Place] = {}

    def find(self, of: Address) -> tuple[set[str], set[str]]:
        """The paths of parameters that an address matches, and of those below blocks that it matches."""
        separator = self.model.separator
        if of.expression is not None:
            return {path for path in self.model.parameters if of.expression.fullmatch(path)}, set()
        assert of.segments is not None
        texts = [each for each in of.segments if isinstance(each, NamePattern)]
        if len(texts) == len(of.segments):
            matches, matches_below = compile_names(texts, separator), compile_names([*texts, ANY_NAMES], separator)
            exact = {path for path in self.model.parameters if matches(path)}
            below = {path for path in self.model.parameters if matches_below(path)}
            if exact or below or not any(each.plain and re.fullmatch(_PLACE, each.text) for each in texts):
                return exact, below
        found = self.walk(of.segments)
        exact = {place.path for place in found if place.parameter}
        return exact, {inner.path for place in found for inner in place.below() if inner.parameter}

    def blocks(self, of: Address) -> set[str]:
        """The paths of blocks that an address matches, and of all below them."""
        paths = dict.fromkeys(block.path for block in self.model.walk())
        if of.expression is not None:
            return {path for path in paths if of.expression.fullmatch(path)}
        assert of.segments is not None
        texts = [each for each in of.segments if isinstance(each, NamePattern)]
        matched: set[str] = set()
        if len(texts) == len(of.segments):
            matches = compile_names([*texts, ANY_NAMES], self.model.separator)
            matched = {path for path in paths if matches(path)}
        return matched or {inner.path for place in self.walk(of.segments) for inner in place.below()}

    def walk(self, segments: Sequence[Segment]) -> list[_Place]:
        """The places that segments lead to, from the root."""
        found: list[_Place] = []
        segments = [
            each for k, each in enumerate(segments) if each != ANY_NAMES or not k or segments[k - 1] != ANY_NAMES
        ]
        stack, seen = [(self.root, 0)], set()
        while stack:
            place, depth = stack.pop()
            if (id(place), depth) in seen:
                continue
            seen.add((id(place), depth))
            if depth == len(segments):
                found.append(place)
                continue
            segment = segments[depth]
            if segment == ANY_NAMES:
                stack += [(place, depth + 1), *((inner, depth) for inner in place.named.values())]
            else:
                stack += [(inner, depth + 1) for inner in self.step(place, segment)]
        return found

    def beyond(self, of: Address) -> str:
        """A hint where a place is counted beyond the last."""
        for count, segment in enumerate(of.segments or ()):
            number = segment.place if isinstance(segment, (WeightIndex, LayerIndex)) else _number(segment)
            for place in self.walk((of.segments or ())[:count]) if number is not None else ():
                what = "weights" if isinstance(segment, WeightIndex) else "layers" if place.layers else "parameters"
                many = len(self.weights(place)) if what == "weights" else len(place.layers or place.counted)
                if not -many <= (number or 0) < many:
                    return f"{place.path or self.model.name} has {many:,} {what}."
        return ""

    def step(self, place: _Place, segment: Segment) -> list[_Place]:
        """Where one segment leads from a place."""
        if isinstance(segment, WeightIndex):
            return _at(self.weights(place), segment.place)
        if isinstance(segment, LayerIndex):
            return _at(place.layers, segment.place)
        if segment.text in place.named:
            return [place.named[segment.text]]
        number = _number(segment)
        if number is not None:
            return _at(place.layers or place.counted, number)
        matches = compile_names([segment], "/")
        return [inner for name, inner in place.named.items() if matches(name)]

    def weights(self, place: _Place) -> list[_Place]:
        """Every parameter below a place once, in the model's order."""
        below = {inner.path: inner for inner in place.below() if inner.parameter}
        return [below[path] for path in self.model.parameters if path in below]

    @property
    def root(self) -> _Place:
        if self._root is None:
            self._root = _Place("")
            for block in self.model.blocks:
                self.put(self._root, block)
        return self._root

    def put(self, parent: _Place, block: NamedBlock) -> None:
        """Make the place of a block, and of all in it."""
        separator = self.model.separator
        if block.reuse_of in self.used:  # the same layer again, at another place
            parent.layers.append(self.used[block.reuse_of])
            parent.counted.append(self.used[block.reuse_of])
            return
        made = self.used.setdefault(block.path, _Place(block.path, block.path in self.model.parameters))
        parent.named.setdefault(block.path[len(parent.path) + 1 :] if parent.path else block.path, made)
        parent.layers.append(made)
        parent.counted.append(made)
        for inner in block.blocks:
            self.put(made, inner)
        for parameter in block.parameters:
            if parameter.path == block.path:
                continue
            here = made
            *between, last = parameter.path[len(block.path) + 1 :].split(separator)
            for name in between:
                here = here.named.setdefault(name, _Place(f"{here.path}{separator}{name}"))
            leaf = here.named.setdefault(last, _Place(parameter.path, True))
            made.counted.append(leaf)


def _number(segment: Segment) -> int | None:
    if isinstance(segment, NamePattern) and segment.plain and re.fullmatch(_PLACE, segment.text):
        return int(segment.text)
    return None


def _at(places: list[_Place], number: int) -> list[_Place]:
    return [places[number]] if -len(places) <= number < len(places) else []
