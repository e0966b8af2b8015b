"""What each workflow has spent, and on which day: the sum of `spent_cents` in what blocks gave."""

from collections import defaultdict
from datetime import UTC, date

from playhead_contracts.events import BlockCompleted, Event
from playhead_projector.projections import Changes, Projection, Row, Table

TABLE = Table(
    name="spend_by_day",
    columns={
        "tenant": "text not null",
        "workflow_id": "text not null",
        "day": "date not null",
        "blocks": "bigint not null",
        "cents": "bigint not null",
    },
    key=("tenant", "workflow_id", "day"),
    added=frozenset({"blocks", "cents"}),
)


def apply(changes: Changes) -> list[Row]:
    """One row for each workflow and day on which blocks spent something, to be added to what stands there."""
    found: dict[tuple[str, str, date], list[int]] = defaultdict(list)
    for event in changes.events:
        cents = _spent(event)
        if cents:
            envelope = event.envelope
            day = envelope.recorded_at.astimezone(UTC).date()
            found[envelope.tenant, envelope.workflow_id or "", day].append(cents)
    return [(*key, len(spent), sum(spent)) for key, spent in found.items()]


def _spent(event: Event) -> int:
    """Cents. A block that was reused (`block.reused`) has not spent them again."""
    match event.data:
        case BlockCompleted(outputs={"spent_cents": int(cents)}) if not isinstance(cents, bool):
            return cents
        case _:
            return 0


SPEND_BY_DAY = Projection(table=TABLE, follows="execution", apply=apply)
