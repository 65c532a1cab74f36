"""The orders of the rows of a summary, apart from ``rank`` because --help needs no more."""

SORTS = ("parameters", "bytes", "path", "macs")
"""By a number, largest first, or by path."""
