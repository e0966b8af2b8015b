"""The event log on PostgreSQL: the one place that knows how facts are written and read."""

from playhead_eventlog.blobs import BLOB_BYTES, fault_of
from playhead_eventlog.log import Appended, EventLog, Found, open_log
from playhead_eventlog.migrations import migrate
from playhead_eventlog.sealing import FORGOTTEN, FORGOTTEN_TEXT, BrokenSeal, may_hold_sealed, read_sealed
from playhead_eventlog.selecting import Selection, Trace
from playhead_eventlog.snapshots import EVERY, LAST_VERSION, Folds, Snapshots
from playhead_eventlog.stored import (
    GENESIS,
    BlobKey,
    BrokenBlob,
    LogUnavailable,
    RawEvent,
    StreamHead,
    chain,
    may_be_sealed,
    may_refer,
)
from playhead_eventlog.tail import Tail, open_tail
from playhead_eventlog.vault import Vault, VaultClosed

__all__ = [
    "BLOB_BYTES",
    "EVERY",
    "FORGOTTEN",
    "FORGOTTEN_TEXT",
    "GENESIS",
    "LAST_VERSION",
    "Appended",
    "BlobKey",
    "BrokenBlob",
    "BrokenSeal",
    "EventLog",
    "Folds",
    "Found",
    "LogUnavailable",
    "RawEvent",
    "Selection",
    "Snapshots",
    "StreamHead",
    "Tail",
    "Trace",
    "Vault",
    "VaultClosed",
    "chain",
    "fault_of",
    "may_be_sealed",
    "may_hold_sealed",
    "may_refer",
    "migrate",
    "open_log",
    "open_tail",
    "read_sealed",
]
