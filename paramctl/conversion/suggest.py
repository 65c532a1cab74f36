"""Renaming rules proposed for a file whose arrays have other names than a model's: by shape, order and similar names.

Arrays of one shape are grouped by their names without numbers. A group of the file and one of the model, of the same
size, are matched in the order of their numbers. Where more than one match is possible, none is proposed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from paramctl.address.quoting import address_of
from paramctl.address.rename import renamer
from paramctl.conversion.match import Reference
from paramctl.conversion.torch import torch_layout
from paramctl.errors import AddressError
from paramctl.model import Model

Shapes = Mapping[str, tuple[int, ...]]

MAX_GROUPS = 32
"""Groups of one shape to compare by name: each is compared with each."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Proposed renaming rules.

    rules: of --rename. ambiguous: names of the file and of the model, of one shape, that could be paired in several
    ways. unmatched: other names of the file. missing: other names of the model.
    """

    rules: list[str]
    ambiguous: list[tuple[list[str], list[str]]]
    unmatched: list[str]
    missing: list[str]

    @property
    def is_complete(self) -> bool:
        return not (self.ambiguous or self.unmatched or self.missing)


def suggest(model: Model, like: Reference) -> Suggestion:
    """Return rules that give the arrays of a file the names of another model, in its own layout or that of torch."""
    actual = {path: parameter.shape for path, parameter in model.parameters.items()}
    expected, optional = _expected(actual, like.model)
    same = {name for name, shape in actual.items() if expected.get(name) == shape}
    pairs: dict[str, str] = {}
    ambiguous = []
    left, wanted = _by_shape(actual, same), _by_shape(expected, same)
    for shape, names in left.items():
        matched = _pair(names, wanted.get(shape, []))
        pairs |= matched
        taken = {*matched.values()} | optional
        rest = [name for name in names if name not in matched]
        others = [name for name in wanted.get(shape, []) if name not in taken]
        if rest and others:
            ambiguous.append((rest, others))
    unclear = {name for group in ambiguous for side in group for name in side}
    done = same | {*pairs} | unclear
    reached = same | {*pairs.values()} | unclear | optional
    unmatched = [name for name in actual if name not in done]
    missing = [name for name in expected if name not in reached]
    return Suggestion(_rules(model, pairs), ambiguous, unmatched, missing)


def _expected(actual: Shapes, like: Model) -> tuple[Shapes, set[str]]:
    """Return the names that the file should have, in the layout that fits it better, and those that may be missing."""
    native = {path: parameter.shape for path, parameter in like.parameters.items()}
    tied = set(like.tied)
    if not like.inputs:
        return native, tied
    layout = torch_layout(like)
    torch = {name: tensor.arrangement.shape for name, tensor in layout.tensors.items()}
    synthetic = {
        name
        for name, tensor in layout.tensors.items()
        if tensor.synthetic or tied.intersection(tensor.arrangement.paths)
    }
    return (torch, synthetic) if _likeness(actual, torch) > _likeness(actual, native) else (native, tied)


def _likeness(actual: Shapes, expected: Shapes) -> int:
    """Return how many arrays have a counterpart by shape, and twice those by shape and last name."""

    def named(shapes: Shapes) -> Counter[tuple[str, tuple[int, ...]]]:
        return Counter((re.split("[./]", name)[-1], shape) for name, shape in shapes.items())

    by_shape = Counter(actual.values()) & Counter(expected.values())
    return by_shape.total() + 2 * (named(actual) & named(expected)).total()


def _by_shape(shapes: Shapes, done: set[str]) -> dict[tuple[int, ...], list[str]]:
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        if name not in done:
            groups[shape].append(name)
    return groups


def _without_numbers(name: str) -> str:
    """Return a name as its group has it: dense.weight for dense.weight and dense_1.weight."""
    return re.sub(r"[_.-]?\d+", "", name).replace("/", ".")


def _numbers(name: str) -> list[int]:
    return [int(digits[:18]) for digits in re.findall(r"\d+", name)]


def _pair(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Return the pairs of names of one shape that leave no doubt."""
    groups, other_groups = _groups(names), _groups(others)
    if len(groups) > MAX_GROUPS or len(other_groups) > MAX_GROUPS:
        return {}
    chosen = {group: other for group in groups if (other := _nearest(group, groups, other_groups)) is not None}
    # the last group of each side needs no similar name
    rest, others_left = set(groups) - set(chosen), set(other_groups) - set(chosen.values())
    if len(rest) == len(others_left) == 1:
        group, other = rest.pop(), others_left.pop()
        if len(groups[group]) == len(other_groups[other]):
            chosen[group] = other
    pairs: dict[str, str] = {}
    for group, other in chosen.items():
        # a file may list layer.10 before layer.2; a model lists its layers in order
        pairs |= zip(sorted(groups[group], key=_numbers), other_groups[other], strict=True)
    return pairs


def _groups(names: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_without_numbers(name)].append(name)
    return groups


def _nearest(group: str, groups: Mapping[str, list[str]], others: Mapping[str, list[str]]) -> str | None:
    """Return the group of the other side that is most similar by name, if each is the other's and of equal size."""

    def best(text: str, candidates: Mapping[str, list[str]], size: int) -> str | None:
        scores = sorted(
            ((_similarity(text, each), each) for each, members in candidates.items() if len(members) == size),
            reverse=True,
        )
        is_clear = scores and (len(scores) == 1 or scores[0][0] > scores[1][0])
        return scores[0][1] if is_clear else None

    if len(groups) == len(others) == 1:  # left to the caller: no similarity is needed
        return None
    size = len(groups[group])
    other = best(group, others, size)
    return other if other is not None and best(other, groups, size) == group else None


def _similarity(a: str, b: str) -> float:
    """Return how similar two names are; names that end alike are more so than any others."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio() + (a.rpartition(".")[2] == b.rpartition(".")[2])


def _rules(model: Model, pairs: Mapping[str, str]) -> list[str]:
    """Return rules that make exactly these renamings: short ones if these do, otherwise one for each array."""
    if not pairs:
        return []
    plain = [f"{address_of(old, model.separator)}={new}" for old, new in pairs.items()]
    for rules in ([*_numbered(model, pairs)], [*_prefixes(model, pairs)]):
        try:
            new_name = renamer(rules, model)
        except AddressError:
            continue
        if len(rules) < len(plain) and all(pairs.get(path, path) == new_name(path) for path in model.parameters):
            return rules
    return plain


def _heads(model: Model, pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the beginnings of names that differ, without the part that both end in: net.fc1 to dense."""
    heads: dict[str, str] = {}
    for old, new in pairs.items():
        parts, others = old.split(model.separator), new.split(model.separator)
        while len(parts) > 1 and others and parts[-1] == others[-1]:
            parts.pop()
            others.pop()
        heads.setdefault(model.separator.join(parts), model.separator.join(others))
    # longer beginnings first: a.b.** before a.**
    return dict(sorted(heads.items(), key=lambda item: -len(item[0])))


def _prefixes(model: Model, pairs: Mapping[str, str]) -> Iterator[str]:
    """Yield a rule for each beginning of names: 'net.fc1.**=dense.**'."""
    separator = model.separator
    for old, new in _heads(model, pairs).items():
        is_whole = old in pairs
        if is_whole or not new:
            yield f"{old}={new}" if is_whole else f"{old}{separator}**=**"
        else:
            yield f"{old}{separator}**={new}{separator}**"


def _numbered(model: Model, pairs: Mapping[str, str]) -> Iterator[str]:
    """Yield a rule for all beginnings that differ in their numbers, where the new name has the same ones."""
    separator = re.escape(model.separator)
    merged: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for old, new in _heads(model, pairs).items():
        key = (re.sub(r"\d+", "#", old), re.sub(r"\d+", "#", new)) if _numbers(old) == _numbers(new) else (old, new)
        merged[key].append((old, new))
    for (old, new), heads in merged.items():
        if len(heads) == 1:
            yield from _prefixes(
                model, {path: pairs[path] for path in pairs if _is_under(path, heads[0], pairs, model)}
            )
            continue
        pattern = re.escape(old).replace(r"\#", r"(\d+)").replace("#", r"(\d+)")
        # each number of the new name is that of the old one at the same place
        first, *others = new.replace("\\", r"\\").split("#")
        replacement = first + "".join(f"\\g<{place}>{text}" for place, text in enumerate(others, 1))
        yield f"re:^{pattern}(?={separator}|$)={replacement}"


def _is_under(path: str, head: tuple[str, str], pairs: Mapping[str, str], model: Model) -> bool:
    """Return whether a name and its new one begin with these, followed by the same."""
    old, new = head
    rest = path.removeprefix(old)
    is_below = path == old or path.startswith(f"{old}{model.separator}")
    return is_below and pairs[path] == (new + rest if new else rest.removeprefix(model.separator))
