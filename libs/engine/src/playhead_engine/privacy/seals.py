"""Which fields of a fact are sealed: what people and programs gave, never how the workflow goes on.

Sealed are inputs, outputs, variables, what is shown, asked and answered, messages and details of errors, and digests
of any of these, from which a short value could be guessed. Not sealed, of anything: types, paths, decisions, the types
of errors, times, counts, and who did it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from playhead_contracts.events import (
    BlockCompleted,
    BlockDispatched,
    BlockFailed,
    BlockOverridden,
    BlockRetryScheduled,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    Data,
    EventData,
    EventMatched,
    EventPublished,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionDeadLettered,
    ExecutionFailed,
    IterationCompleted,
    IterationReused,
    Json,
    PauseDelegated,
    PauseExpired,
    PauseExtended,
    PauseRequested,
    PauseResolved,
    PauseVoted,
    Personal,
    Seal,
    TaskAnswered,
)
from playhead_engine.privacy.marks import escaped

_INDEXES = re.compile(r"\[\d+\]")
_ERROR = ("/error/message", "/error/details")

_OF_BLOCKS: Mapping[type[Data], tuple[str, ...]] = {
    BlockStarted: ("/inputs", "/watch/captured"),
    BlockCompleted: ("/inputs", "/outputs", "/streamed/text"),
    BlockFailed: ("/inputs", *_ERROR),
    BlockRetryScheduled: ("/inputs", *_ERROR),
    BlockStepCompleted: ("/name", "/outputs"),
    BlockDispatched: ("/inputs",),
    BlockOverridden: ("/outputs",),
    BlockReused: (),
    BlockSkipped: ("/reason",),
    IterationCompleted: ("/outputs", *_ERROR),
    IterationReused: (),
    TaskAnswered: ("/outputs", *_ERROR),
    EventMatched: ("/event/data", "/event/subject"),
    EventPublished: ("/content", "/subject"),
    ChildEnded: ("/outputs", *_ERROR),
    PauseRequested: ("/message", "/show", "/digest"),
    PauseVoted: ("/answer", "/comment", "/digest"),
    PauseResolved: ("/answer", "/comment", "/digest", "/reason"),
    PauseExpired: ("/answer",),
    PauseExtended: ("/reason",),
    PauseDelegated: ("/reason",),
}
"""By type, what is sealed of a fact about a block that is reached. Their `variables` are told apart by name."""

_ENDS_WITH_CONTAINER = (BlockSkipped, BlockFailed, PauseResolved, IterationCompleted)


def seal_of(personal: Personal | None, fact: EventData) -> Seal | None:
    """What of a new fact of an execution is to be sealed; None if nothing is."""
    if personal is None:
        return None
    fields = tuple(_fields(personal, fact))
    return Seal(personal.key_id, fields) if fields else None


def _fields(personal: Personal, fact: EventData) -> Iterator[str]:
    match fact:
        case ExecutionCreated():
            yield from _of_beginning(personal, fact)
        case ExecutionCompleted():
            if personal.output:
                yield "/output"
        case ExecutionFailed():
            if fact.block is None or is_reached(personal, fact.block):
                yield from _ERROR
        case ExecutionDeadLettered():
            yield "/error"  # the words of a bug, which may quote anything
        case _:
            fields = _OF_BLOCKS.get(type(fact))
            if fields is not None:
                yield from _of_block(personal, fact, fact.path, fields)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def _of_block(personal: Personal, fact: EventData, path: str, fields: tuple[str, ...]) -> Iterator[str]:
    if is_reached(personal, path):
        yield from fields
    elif isinstance(fact, _ENDS_WITH_CONTAINER) and _is_inside(personal, path):
        # It may have ended because a container around it did, and says so in the words of what failed there.
        yield from ("/reason", *_ERROR)
    if isinstance(fact, BlockCompleted | BlockReused | IterationReused):
        yield from _of_variables(personal, fact.variables, "/variables")


def _is_inside(personal: Personal, path: str) -> bool:
    """Whether a block instance is inside of a container that is reached."""
    parts = _INDEXES.sub("", path).split("/")
    return any("/".join(parts[:length]) in personal.blocks for length in range(1, len(parts)))


def _of_beginning(personal: Personal, created: ExecutionCreated) -> Iterator[str]:
    yield from (f"/input{mark}" for mark in personal.input)
    yield from _of_variables(personal, created.variables, "/variables")
    yield from ("/plan", "/fingerprint")
    for path, cutoff in created.cutoff.items():
        yield from _of_variables(personal, cutoff.variables, f"/cutoff/{escaped(path)}/variables")
        yield from (f"/cutoff/{escaped(path)}/after/{escaped(after)}" for after in cutoff.after)


def _of_variables(personal: Personal, values: Mapping[str, Json] | None, place: str) -> Iterable[str]:
    return (f"{place}/{escaped(name)}" for name in personal.variables if name in (values or {}))


def is_reached(personal: Personal, path: str) -> bool:
    """Whether a block instance may hold something personal."""
    return (_INDEXES.sub("", path) if "[" in path else path) in personal.blocks
