"""Snapshots without servers: states survive being bytes, and few of them are enough."""

from hashlib import sha256
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.events import Json
from playhead_contracts.ids import StreamId
from playhead_engine.folding import EXECUTIONS, FOLD_VERSION, fold
from playhead_engine.state import ExecutionState
from playhead_eventlog.snapshots import EVERY, allowed_tail, surplus
from tests.unit.graphs import EXECUTION, Case, World, cases

STREAM = StreamId(f"execution:{EXECUTION}")
SHAPE = (3, "e8bb3d0f4d1f0cd3")
"""FOLD_VERSION, and the digest of the shape of states that belongs to it."""


def test_states_that_look_otherwise_have_another_fold_version() -> None:
    shape = msgspec.json.encode(_without_words(msgspec.json.schema(ExecutionState)), order="sorted")
    digest = sha256(shape).hexdigest()[:16]
    assert (FOLD_VERSION, digest) == SHAPE, (
        "the shape of ExecutionState has changed: raise FOLD_VERSION in playhead_engine/folding/keeping.py, "
        f"so that no snapshot made before is read, and say ({FOLD_VERSION + 1}, {digest!r}) here"
    )


def _without_words(schema: Any) -> Any:
    """A JSON Schema without what its docstrings say."""
    match schema:
        case dict():
            members = cast("dict[str, Any]", schema).items()
            return {k: _without_words(v) for k, v in members if not (k == "description" and isinstance(v, str))}
        case list():
            return [_without_words(each) for each in cast("list[Any]", schema)]
        case _:
            return schema


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(cases(), st.integers(0, 2**32), VALUES, st.data())
@settings(max_examples=300, deadline=None)
def test_folding_on_from_a_snapshot_at_any_version_gives_the_same_state(
    case: Case, seed: int, given_input: Json, data: st.DataObject
) -> None:
    world = World(case, seed, given=given_input)
    world.run_to_the_end()
    cut = data.draw(st.integers(1, len(world.stream)))
    state = fold(world.stream[:cut])
    assert state is not None
    kept = EXECUTIONS.decode(EXECUTIONS.encode(state), STREAM, cut)
    assert kept == state
    assert type(kept.running) is set
    assert list(kept.blocks) == list(state.blocks)
    for event in world.stream[cut:]:
        kept = EXECUTIONS.evolve(kept, event)
    assert kept == fold(world.stream)


def test_the_bytes_of_another_execution_or_version_are_no_snapshot() -> None:
    world = World(Case({"id": "w", "blocks": {"a": {"type": "pure"}}}, frozenset()))
    content = EXECUTIONS.encode(world.run_to_the_end())
    with pytest.raises(ValueError, match="version"):
        EXECUTIONS.decode(content, STREAM, 1)
    with pytest.raises(ValueError, match=EXECUTION):
        EXECUTIONS.decode(content, StreamId("execution:x"), len(world.stream))
    with pytest.raises(ValueError):
        EXECUTIONS.decode(content[:-1], STREAM, len(world.stream))


@given(st.lists(st.integers(1, 400), min_size=50, max_size=400))
@settings(max_examples=50, deadline=None)
def test_few_snapshots_are_kept_and_none_is_far_from_any_version(batches: list[int]) -> None:
    kept: set[int] = set()
    version = 0
    newest = 0
    for batch in (10 * size for size in batches):
        version += batch
        if version - newest < EVERY:
            continue
        newest = version
        kept |= {version}
        kept -= set(surplus(kept))
        assert newest in kept
        # Batches are never larger than that; no tail is longer than allowed by more than one.
        ordered = sorted({0, *kept})
        for here, following in pairwise(ordered):
            assert following - 1 - here <= allowed_tail(following) + 4000 + EVERY
    assert len(kept) <= 80


def test_of_a_hundred_thousand_events_about_forty_snapshots_stay() -> None:
    kept: set[int] = set()
    for version in range(EVERY, 100_001, EVERY):
        kept |= {version}
        kept -= set(surplus(kept))
    ordered = [0, *sorted(kept)]
    assert len(kept) < 45
    assert all(b - 1 - a <= allowed_tail(b - 1) for a, b in pairwise(ordered))
