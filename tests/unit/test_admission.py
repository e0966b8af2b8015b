"""Whether a run may begin, and whether it is the same as one before."""

from datetime import timedelta
from typing import Any

import pytest

from playhead_contracts.events import Json, Parent
from playhead_contracts.ids import BlockPath
from playhead_engine.admission import (
    ExecutionHasEnded,
    InputDoesNotFit,
    KeyUsedDifferently,
    Request,
    UnknownOutput,
    VariablesDoNotFit,
    admit,
    check_repeat,
    decide_cancel,
)
from playhead_engine.documents import parse
from playhead_engine.ownership import Claim, HeldBy, Nothing, Poisoned, decide_claim
from playhead_engine.state import ExecutionStatus
from tests.unit.graphs import EXECUTION, TRAITS, Case, World
from tests.unit.graphs import START as NOW

DOCUMENT: dict[str, Json] = {
    "id": "w",
    "input": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
    "variables": {"limit": 5, "kept": True},
    "blocks": {"a": {"type": "act"}},
}


def world() -> World:
    return World(Case({"id": "w", "blocks": {"a": {"type": "act"}}}, frozenset()))


def test_input_that_does_not_fit_is_refused_at_its_place() -> None:
    with pytest.raises(InputDoesNotFit) as refused:
        admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": "one"}), NOW)
    assert [fault.pointer for fault in refused.value.errors] == ["#/input/n"]


def test_an_output_that_does_not_exist_is_refused_at_its_place() -> None:
    with pytest.raises(UnknownOutput) as refused:
        admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": 1}, outputs=("a", "nope")), NOW)
    assert [fault.pointer for fault in refused.value.errors] == ["#/outputs/1"]


def test_variables_of_a_run_override_those_of_the_document() -> None:
    created = admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": 1}, variables={"limit": 9}), NOW)
    assert created.variables == {"limit": 9, "kept": True}


def test_a_variable_of_another_type_is_refused_at_its_place() -> None:
    with pytest.raises(VariablesDoNotFit) as refused:
        admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": 1}, variables={"kept": 1, "new": 1}), NOW)
    assert [fault.pointer for fault in refused.value.errors] == ["#/variables/kept"]


@pytest.mark.parametrize(
    ("of_document", "of_request", "seconds"), [("1h", 30, 30), ("10s", 30, 10), (None, 30, 30), ("1h", None, 3600)]
)
def test_the_deadline_is_the_earlier_one(of_document: str | None, of_request: float | None, seconds: float) -> None:
    document = DOCUMENT | ({} if of_document is None else {"timeout": of_document})
    timeout = None if of_request is None else timedelta(seconds=of_request)
    created = admit(parse(document, TRAITS), 1, "sha256:x", Request(input={"n": 1}, timeout=timeout), NOW)
    assert created.deadline == NOW + timedelta(seconds=seconds)


def test_without_a_timeout_there_is_no_deadline() -> None:
    created = admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": 1}), NOW)
    assert (created.deadline, created.max_concurrency) == (None, None)


@pytest.mark.parametrize(("of_document", "of_request", "most"), [(4, 2, 2), (4, 9, 4), (None, 9, 9), (4, None, 4)])
def test_the_smaller_concurrency_counts(of_document: int | None, of_request: int | None, most: int) -> None:
    document = DOCUMENT | ({} if of_document is None else {"max_concurrency": of_document})
    request = Request(input={"n": 1}, max_concurrency=of_request)
    assert admit(parse(document, TRAITS), 1, "sha256:x", request, NOW).max_concurrency == most


def test_a_child_names_its_parent_and_how_deep_it_is() -> None:
    parent = Parent(execution_id=EXECUTION, path=BlockPath("sub"))
    created = admit(parse(DOCUMENT, TRAITS), 1, "sha256:x", Request(input={"n": 1}), NOW, parent, 3)
    assert (created.parent, created.depth) == (parent, 3)


@pytest.mark.parametrize("other", [{"timeout": timedelta(seconds=1)}, {"max_concurrency": 2}, {"variables": {"x": 1}}])
def test_what_bounds_a_run_makes_it_another_request(other: dict[str, Any]) -> None:
    assert Request(**other).fingerprint("w", None) != Request().fingerprint("w", None)
    assert Request(**other).fingerprint("w", None) == Request(**other).fingerprint("w", None)


def test_one_key_stands_for_one_request_whatever_the_way_of_listening() -> None:
    one, other = Request(input={"n": 1}, mode="sync"), Request(input={"n": 2}, mode="sync")
    assert one.fingerprint("w", None) == Request(input={"n": 1}, mode="async").fingerprint("w", None)
    assert one.fingerprint("w", None) != other.fingerprint("w", None)
    state = world().state
    state.fingerprint = one.fingerprint("w", None)
    check_repeat(state, one.fingerprint("w", None))
    with pytest.raises(KeyUsedDifferently):
        check_repeat(state, other.fingerprint("w", None))


def test_cancelling_twice_is_cancelling_once_and_what_has_ended_cannot_be_cancelled() -> None:
    running = world()
    assert len(decide_cancel(running.state, None)) == 1
    ended = world()
    ended.run_to_the_end()
    with pytest.raises(ExecutionHasEnded):
        decide_cancel(ended.state, None)


def test_a_redelivered_lease_may_be_taken_over_and_any_other_command_may_not() -> None:
    state = world().state
    assert isinstance(decide_claim(state, "b", "run"), Claim)
    assert decide_claim(state, "b", "resume:p") == HeldBy("a")
    assert isinstance(decide_claim(state, "b", "resume:p", owner_is_gone=True), Claim)


def test_a_claim_has_an_epoch_one_higher_than_the_last() -> None:
    state = world().state
    claim = decide_claim(state, "b", "run")
    assert isinstance(claim, Claim)
    assert claim.event.epoch == state.epoch + 1


def test_an_ended_execution_is_nothing_to_claim() -> None:
    state = world().state
    state.status = ExecutionStatus.COMPLETED
    assert decide_claim(state, "b", "run") == Nothing("ended")


def test_an_execution_over_which_executors_keep_getting_lost_is_held_back() -> None:
    lost = world()
    for _ in range(5):
        lost.crash()
    assert decide_claim(lost.state, "b", "run") == Poisoned(5)


def test_progress_clears_the_count_of_lost_executors() -> None:
    lost = world()
    for _ in range(4):
        lost.crash()
    lost.run_to_the_end()
    assert lost.state.idle_claims == 0
