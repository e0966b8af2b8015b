"""The clock, as a value that is handed in."""

from datetime import UTC, datetime


class Clock:
    """The real time. Tests hand in a subclass of their own."""

    def now(self) -> datetime:
        """The time in UTC, time zone aware."""
        return datetime.now(UTC)
