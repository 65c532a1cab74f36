"""suggest_renames: renaming rules for a file whose arrays have other names than a model's."""

from __future__ import annotations

from paramctl.conversion.match import like_reference
from paramctl.conversion.suggest import Suggestion, suggest
from paramctl.library.opening import Openable, as_source


def suggest_renames(weights: Openable, like: Openable) -> Suggestion:
    """Propose renaming rules that give the arrays of a file the names of a model, in its layout or that of torch.

    Arrays are matched by shape, order and similar names. Those that could be matched in several ways are listed.
    """
    return suggest(as_source(weights).model, like_reference(as_source(like)))
