"""Events as an Apache Parquet file: a row each, in the order of the log, for engines that read columns."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from playhead_cli.exports.reading import Part, meta_of
from playhead_contracts.errors import PlayheadError

if TYPE_CHECKING:
    from playhead_eventlog import RawEvent

ROWS_A_GROUP = 50_000
BYTES_A_GROUP = 32 * 1024 * 1024
"""Whichever comes first ends a row group, and a group is what is held in memory."""
_NO_LIMIT = 2**30


class ParquetMissing(PlayheadError):
    exit_code = 2

    def __init__(self) -> None:
        super().__init__("Parquet needs pyarrow, which is not installed: pip install 'playhead[parquet]'")


async def write(part: Part, file: BinaryIO) -> int:
    """Write the events; gives how many. `data` is as it is stored. Raises ParquetMissing."""
    if find_spec("pyarrow") is None:
        raise ParquetMissing
    import pyarrow as arrow  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingTypeStubs]

    a: Any = arrow
    schema: Any = _schema()
    count = held_bytes = 0
    # Columns at once: as rows, a group would take five times the memory.
    held: list[Any] = []
    with cast(Any, parquet).ParquetWriter(file, schema, compression="zstd") as writer:
        async for events in part.pages():
            held.append(_table(events, schema))
            held_bytes += held[-1].nbytes
            if sum(table.num_rows for table in held) >= ROWS_A_GROUP or held_bytes >= BYTES_A_GROUP:
                writer.write_table(a.concat_tables(held), row_group_size=_NO_LIMIT)
                held, held_bytes = [], 0
            count += len(events)
        if held:
            writer.write_table(a.concat_tables(held), row_group_size=_NO_LIMIT)
    return count


def _schema() -> Any:
    import pyarrow as arrow  # pyright: ignore[reportMissingTypeStubs]

    a: Any = arrow
    texts = a.dictionary(a.int32(), a.string())
    required = [
        ("position", a.int64()),
        ("stream_id", a.string()),
        ("version", a.int32()),
        ("event_id", a.string()),
        ("type", texts),
        ("tenant", texts),
    ]
    more = [("actor_kind", texts), ("actor_name", a.string())]
    fields = [a.field(name, kind, nullable=False) for name, kind in required]
    fields += [a.field("workflow_id", texts), a.field("execution_id", a.string())]
    fields.append(a.field("recorded_at", a.timestamp("us", tz="UTC"), nullable=False))
    fields += [a.field(name, kind, nullable=False) for name, kind in more]
    fields.append(a.field("actor_channel", texts))
    fields += [a.field("data", a.string(), nullable=False), a.field("hash", a.binary(32), nullable=False)]
    return a.schema(fields)


def _table(events: "list[RawEvent]", schema: Any) -> Any:
    from datetime import datetime

    import pyarrow as arrow  # pyright: ignore[reportMissingTypeStubs]

    metas = [meta_of(event) for event in events]
    columns: dict[str, list[Any]] = {
        "position": [event.position for event in events],
        "stream_id": [event.stream_id for event in events],
        "version": [event.version for event in events],
        "event_id": [meta.id for meta in metas],
        "type": [event.type for event in events],
        "tenant": [meta.tenant for meta in metas],
        "workflow_id": [meta.workflow_id for meta in metas],
        "execution_id": [meta.execution_id for meta in metas],
        "recorded_at": [datetime.fromisoformat(meta.recorded_at) for meta in metas],
        "actor_kind": [meta.actor.kind for meta in metas],
        "actor_name": [meta.actor.name for meta in metas],
        "actor_channel": [meta.actor.channel for meta in metas],
        "data": [event.data.decode() for event in events],
        "hash": [event.hash for event in events],
    }
    a: Any = arrow
    return a.table(columns, schema=schema)
