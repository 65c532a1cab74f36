"""Checks of names, shapes and dtypes: against the model of --like, and against a file's own configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from paramctl.conversion.report import prefix_hint
from paramctl.core.parameter import Parameter
from paramctl.core.text import abbreviate
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.model import Model

VARIABLE = re.compile(r"(.*/vars)/([0-9]{1,9})")
NUMBERED = "not in the file, which has arrays with higher numbers"

FEW = 2
"""If fewer than one name in so many agrees, the file has another layout, or other names, than the model."""


@check("error")
def layout(subject: Subject) -> Iterator[Observation]:
    """Find files with other names than the model of --like."""
    expected = subject.expected
    if expected is not None and not _has_its_names(subject, expected):
        actual = subject.source.model.parameters
        hint = prefix_hint(actual, expected.parameters, subject.source.model.separator)
        common = len(actual.keys() & expected.parameters.keys())
        rule = f"{common:,} of {len(actual):,} names are among the {len(expected.parameters):,} of {expected.name}"
        names = (abbreviate(list(names)) for names in (actual, expected.parameters))
        examples = "the file has {}; the model has {}".format(*names)
        yield Observation(subject.source.model.name, f"{rule}: {hint or examples}", tuple(actual))


@check("error")
def missing(subject: Subject) -> Iterator[Observation]:
    """Find parameters of the model of --like, or of a file's own configuration, that the file lacks."""
    present = subject.source.model.parameters
    lacking = {path: shape for path, shape in subject.configured.items() if path not in present}
    for path, shape in {**lacking, **subject.source.origin.missing}.items():
        text = "in the file's configuration, but not in the file" if shape is not None else NUMBERED
        yield Observation(subject.address(path), f"{text}: {shape}" if shape is not None else text, (path,))
    for path in _gaps(subject):
        yield Observation(subject.address(path), NUMBERED, (path,))
    expected, actual = _comparable(subject), subject.source.model.parameters
    for path, parameter in expected.items():
        tie = _model(subject).tied.get(path)
        if path not in actual and not (tie is not None and tie.kept in actual) and not _is_counter(path):
            yield Observation(subject.address(path), f"missing: {parameter.shape} {parameter.dtype}", (path,))


@check("error")
def unexpected(subject: Subject) -> Iterator[Observation]:
    """Find arrays that the model of --like, or a file's own configuration, does not have."""
    for path, parameter in subject.source.model.parameters.items() if subject.configured else ():
        if path not in subject.configured and parameter.is_parameter:
            text = f"not in the file's configuration, so Keras ignores it: {parameter.shape} {parameter.dtype}"
            yield Observation(subject.address(path), text, (path,))
    expected = _comparable(subject)
    for path, parameter in subject.source.model.parameters.items() if expected else ():
        if path not in expected and parameter.is_parameter:
            text = f"not in {_model(subject).name}: {parameter.shape} {parameter.dtype}"
            yield Observation(subject.address(path), text, (path,))


@check("error")
def shape(subject: Subject) -> Iterator[Observation]:
    """Find arrays with another shape than in the model of --like, or in a file's own configuration."""
    for path, declared in subject.configured.items():
        stored = subject.source.model.parameters.get(path)
        if stored is not None and stored.shape != declared:
            yield Observation(
                subject.address(path), f"{stored.shape}, but {declared} in the file's configuration", (path,)
            )
    for path, parameter, expected in _common(subject):
        if parameter.shape != expected.shape:
            text = f"{parameter.shape}, but {expected.shape} in {_model(subject).name}"
            yield Observation(subject.address(path), text, (path,))


@check("warning")
def dtype(subject: Subject) -> Iterator[Observation]:
    """Find arrays with another dtype than in the model of --like."""
    for path, parameter, expected in _common(subject):
        if parameter.dtype != expected.dtype and parameter.shape == expected.shape:
            text = f"{parameter.dtype}, but {expected.dtype} in {_model(subject).name}"
            yield Observation(subject.address(path), text, (path,))


def _gaps(subject: Subject) -> Iterator[str]:
    """Yield the arrays that lack in the numbers of a layer's variables, which have no gaps in Keras."""
    origin = subject.source.origin
    if origin.keras is not None and origin.keras.config is not None:
        return  # its names are compared
    numbers: dict[str, set[int]] = {}
    for stored in subject.source.model.aliases.values():
        if match := VARIABLE.fullmatch(stored):
            numbers.setdefault(match[1], set()).add(int(match[2]))
    for group, present in numbers.items():
        last = min(max(present), 2 * len(present))  # a hostile number may be huge
        yield from (f"{group}/{number}" for number in range(last) if number not in present)


def _model(subject: Subject) -> Model:
    assert subject.expected is not None
    return subject.expected


def _has_its_names(subject: Subject, expected: Model) -> bool:
    actual, names = subject.source.model.parameters, expected.parameters
    return FEW * len(actual.keys() & names.keys()) >= min(len(actual), len(names))


def _comparable(subject: Subject) -> Mapping[str, Parameter]:
    """Return the parameters of the model of --like; none without --like, or if the file has other names."""
    expected = subject.expected
    return expected.parameters if expected is not None and _has_its_names(subject, expected) else {}


def _common(subject: Subject) -> Iterator[tuple[str, Parameter, Parameter]]:
    expected = _comparable(subject)
    for path, parameter in subject.source.model.parameters.items():
        if path in expected:
            yield path, parameter, expected[path]


def _is_counter(path: str) -> bool:
    """Return whether an array is torch's count of batches, which older files lack."""
    return path.endswith("num_batches_tracked")
