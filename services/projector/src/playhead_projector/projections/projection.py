"""What a projection is: a table, the streams it follows, and how a batch becomes rows."""

from collections.abc import Callable

import msgspec

from playhead_projector.folding import Changes, StreamKind
from playhead_projector.table import Row, Table


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """One read model. `apply` gives each changed row once, whole; it waits for nothing and keeps nothing.

    A higher `version` says that `apply` makes other rows of the same events: the table is then built anew.
    """

    table: Table
    follows: StreamKind
    apply: Callable[[Changes], list[Row]]
    version: int = 1

    @property
    def name(self) -> str:
        return self.table.name
