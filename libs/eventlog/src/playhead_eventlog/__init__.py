"""The event log on PostgreSQL: the one place that knows how facts are written and read."""

from playhead_eventlog.log import Appended, EventLog, open_log
from playhead_eventlog.migrations import migrate
from playhead_eventlog.stored import GENESIS, LogUnavailable, RawEvent, StreamHead, chain
from playhead_eventlog.tail import Tail, open_tail

__all__ = [
    "GENESIS",
    "Appended",
    "EventLog",
    "LogUnavailable",
    "RawEvent",
    "StreamHead",
    "Tail",
    "chain",
    "migrate",
    "open_log",
    "open_tail",
]
