"""How the log is signed."""

from datetime import timedelta

import msgspec

from playhead_eventlog.checkpoints import Checkpoints
from playhead_eventlog.signing import SigningKey


class Signing(msgspec.Struct, frozen=True):
    """Where to, with what, and how often: every `every`, or every `events` events, if anything was appended."""

    checkpoints: Checkpoints
    key: SigningKey
    every: timedelta
    events: int
