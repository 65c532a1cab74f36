"""Finding: one fault of a model or file, or one fact that is worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the worst down."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a model or file, or a fact about it that is worth knowing.

    name: the name of the check that found it, such as ``nan``.
    severity: ``error`` for what cannot be right, ``warning`` for what probably is not, ``note`` for what may be meant.
    place: the address of the first value, such as ``dense/kernel[3, 5]``, the path of the array, or the file.
    text: the fault and its extent: ``3 of 16 values are NaN``.
    paths: the arrays that it is about; none for a file.
    file: the file that was checked, as it was named; empty for a model in memory.
    """

    name: str
    severity: Severity
    place: str
    text: str
    paths: tuple[str, ...] = ()
    file: str = ""
