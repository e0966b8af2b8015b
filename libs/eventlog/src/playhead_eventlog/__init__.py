"""The event log on PostgreSQL: the one place that knows how facts are written and read."""

from playhead_eventlog.blobs import BLOB_BYTES, fault_of
from playhead_eventlog.log import Appended, EventLog, Found, open_log
from playhead_eventlog.migrations import migrate
from playhead_eventlog.snapshots import EVERY, LAST_VERSION, Folds, Snapshots
from playhead_eventlog.stored import (
    GENESIS,
    BlobKey,
    BrokenBlob,
    LogUnavailable,
    RawEvent,
    StreamHead,
    chain,
    may_refer,
)
from playhead_eventlog.tail import Tail, open_tail

__all__ = [
    "BLOB_BYTES",
    "EVERY",
    "GENESIS",
    "LAST_VERSION",
    "Appended",
    "BlobKey",
    "BrokenBlob",
    "EventLog",
    "Folds",
    "Found",
    "LogUnavailable",
    "RawEvent",
    "Snapshots",
    "StreamHead",
    "Tail",
    "chain",
    "fault_of",
    "may_refer",
    "migrate",
    "open_log",
    "open_tail",
]
