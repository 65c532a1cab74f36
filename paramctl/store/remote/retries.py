"""Further tries of a request after a failure that may pass, and the waits between them."""

from __future__ import annotations

import time

from paramctl.errors import InputError
from paramctl.parallel import pause

TRIES = 5
FIRST_DELAY = 0.25
"""Seconds before the second try. Each further delay doubles."""
MAX_DELAY = 30.0
"""Seconds that a server may ask to wait."""
LEAST_SPEED = 1 << 14
"""Bytes in a second, below which a server is given up."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses of a server that may answer later."""


class TryLater(Exception):
    """A failure that may pass. seconds: the wait that the server asks for."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Deadline:
    """The end of the time for an answer: seconds from now, and one more for each LEAST_SPEED bytes that have come."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def is_over(self, received: int) -> bool:
        return time.monotonic() > self.end + received / LEAST_SPEED


class Tries:
    """The tries of one request."""

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, 0

    def wait(self, error: TryLater) -> None:
        """Wait before another try. Raises InputError after the last one."""
        self.failed += 1
        if self.failed >= TRIES:
            raise InputError(f"{self.name}: {error}, in {TRIES} tries") from error
        seconds = error.seconds if error.seconds is not None else FIRST_DELAY * 2 ** (self.failed - 1)
        if seconds > MAX_DELAY:
            raise InputError(f"{self.name}: {error}, and asks to wait {seconds:,.0f} seconds. Try later") from error
        pause(seconds)


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Return the seconds in a Retry-After header, which has a number or a date; None for neither."""
    if retry_after is None:
        return None
    if (digits := retry_after.strip()).isdecimal():
        return float(digits[:15])  # more digits make no difference, and could be infinity
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
