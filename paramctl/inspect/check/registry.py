"""The registry of checks. A check is one function: its name, its docstring and its severity are all that it declares.

To add a check, write a generator with the decorator ``check`` in a module of MODULES. The listing, the selection and
the documentation follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from paramctl.errors import AddressError, suggest
from paramctl.inspect.check.finding import SEVERITIES, Severity

if TYPE_CHECKING:
    from paramctl.inspect.check.subject import Subject

OF_VALUES = ("values", "laws", "casts", "units", "copies")
"""The modules with checks that read values."""

MODULES = ("files", "shards", "structure", *OF_VALUES)
"""The modules with checks, in the order in which these run and are listed."""


ALWAYS = "unreadable"
"""The check that runs with every check that reads values, unless it is ignored: an array that cannot be read must not
pass as one without faults."""
CHECKSUM = "checksum"
"""The check that compares arrays with their recorded hashes, for which they are hashed."""


class Observation(NamedTuple):
    """A fault as a check yields it; see Finding. severity: in place of the check's."""

    place: str
    text: str
    paths: tuple[str, ...] = ()
    severity: Severity | None = None


CheckFunction = Callable[["Subject"], Iterator[Observation]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, the severity of its findings, one line that describes it, and its function."""

    name: str
    severity: Severity
    description: str
    function: CheckFunction

    @property
    def reads_values(self) -> bool:
        """True if the check reads the values of arrays."""
        return self.function.__module__.rpartition(".")[2] in OF_VALUES


_CHECKS: dict[str, Check] = {}


def check(severity: Severity) -> Callable[[CheckFunction], CheckFunction]:
    """Register a function as a check. Its name is the function's, with hyphens."""

    def register(function: CheckFunction) -> CheckFunction:
        name = function.__name__.replace("_", "-")
        _CHECKS[name] = Check(name, severity, (function.__doc__ or "").rstrip("."), function)
        return function

    return register


def all_checks() -> list[Check]:
    """Return every check, in the order in which they run."""
    for module in MODULES:
        import_module(f"{__package__}.{module}")
    order = {f"{__package__}.{module}": number for number, module in enumerate(MODULES)}
    return sorted(_CHECKS.values(), key=lambda each: order[each.function.__module__])


def choose(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> list[Check]:
    """Return the selected checks without the ignored ones; all if none is selected.

    select, ignore: names of checks, and severities for all checks of a severity. Raises AddressError for others.
    """
    checks = all_checks()
    chosen, left_out = _named(checks, select) if select else {each.name for each in checks}, _named(checks, ignore)
    if any(each.reads_values for each in checks if each.name in chosen - left_out):
        chosen.add(ALWAYS)
    return [each for each in checks if each.name in chosen - left_out]


def _named(checks: Iterable[Check], words: Sequence[str]) -> set[str]:
    by_word: dict[str, set[str]] = {severity: set() for severity in SEVERITIES}
    for each in checks:
        by_word[each.severity].add(each.name)
        by_word[each.name] = {each.name}
    for word in words:
        if word not in by_word:
            raise AddressError("no check has this name", repr(word), suggest(word, by_word))
    return set().union(*(by_word[word] for word in words))
