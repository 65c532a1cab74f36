"""Files that cannot be opened: damage is a finding; a file that does not exist, or wrong usage, is an error."""

from __future__ import annotations

from paramctl.errors import AddressError, DocumentError, ParamctlError
from paramctl.inspect.check.finding import Finding
from paramctl.inspect.check.registry import ALWAYS, Observation
from paramctl.inspect.check.shards import KERAS_INDEX, file_faults, shard_faults
from paramctl.store.location import Location
from paramctl.store.opening import open_source

STANDARD_INPUT = "<stdin>"


def damage(file: str, error: ParamctlError) -> list[Finding]:
    """Return the findings about a file that raised an error when it was opened, whichever checks are selected.

    Raises the error again if the contents of the file are not at fault: it does not exist, it cannot be opened, or an
    option is wrong.
    """
    if isinstance(error, AddressError) or (isinstance(error, DocumentError) and _is_of_option(error)):
        raise error
    faults: list[Observation] = []
    if file != "-":
        location = open_source(file)  # raises its own error
        faults = _of_set(location)
        location.close()
    if faults:
        return [Finding("shards", fault.severity or "error", *fault[:3], file) for fault in faults]
    place = str(error.place) if isinstance(error, DocumentError) and error.place is not None else file
    text = str(error).removeprefix(f"{place}: ").removeprefix(f"{STANDARD_INPUT}: ")
    return [Finding(ALWAYS, "error", place, text, (), file)]


def _is_of_option(error: DocumentError) -> bool:
    """Return whether an error is about an option, such as -D or --input-shape, that is wrong or missing."""
    return error.place is None or error.place.source.startswith("-")


def _of_set(location: Location) -> list[Observation]:
    try:
        if location.name.endswith(KERAS_INDEX):  # its groups are compared by its reader, which names one fault
            return list(file_faults(location))
        return [fault for fault in shard_faults(location) if fault.severity != "note"]
    except ParamctlError:  # the index itself is damaged, as the error says
        return []
