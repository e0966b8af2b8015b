"""Run-from-block: what is repeated, what is taken over, and why (docs/architecture.md)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead_contracts.events import BlockReference, Json
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_engine.compare import compare
from playhead_engine.documents import parse
from playhead_engine.graph import Graph, build_graph
from playhead_engine.rerun import Plan, RerunRefused, plan_rerun, reused_events
from playhead_engine.state import BlockStatus, ExecutionState
from tests.unit.graphs import EXECUTION, TRAITS, Case, World, cases


def graph_of(blocks: dict[str, Json]) -> Graph:
    return build_graph(parse({"id": "w", "blocks": blocks}, TRAITS), TRAITS)


def ran(
    blocks: dict[str, Json], fails: frozenset[str] = frozenset(), given: Json = None
) -> tuple[Graph, ExecutionState]:
    world = World(Case({"id": "w", "blocks": blocks}, fails), given=given)
    return world.graph, world.run_to_the_end()


def reasons(plan: Plan) -> dict[str, str]:
    return {block.path: block.reason for block in plan.blocks}


DIAMOND: dict[str, Json] = {
    "a": {"type": "act", "next": ["b", "c"]},
    "b": {"type": "act", "next": "d"},
    "c": {"type": "act", "next": "d"},
    "d": {"type": "act"},
}


def test_the_target_and_everything_downstream_run_and_the_rest_is_reused() -> None:
    graph, state = ran(DIAMOND)
    plan = plan_rerun(graph, state, "b", state.input)
    assert plan.scope == ("b", "d")
    assert plan.reused == ("a", "c")
    assert plan.start == ("b",)
    assert reasons(plan) == {"a": "unchanged", "c": "unchanged", "b": "target", "d": "downstream_of"}


def test_a_merge_behind_a_branch_can_be_the_target_although_one_arm_was_not_taken() -> None:
    graph, state = ran(
        {
            "gate": {"type": "condition", "cases": {"yes": "true"}, "next": {"yes": "left", "else": "right"}},
            "left": {"type": "act", "next": "merge"},
            "right": {"type": "act", "next": "merge"},
            "merge": {"type": "act"},
        }
    )
    plan = plan_rerun(graph, state, "merge", state.input)
    assert plan.scope == ("merge",)
    assert reasons(plan)["right"] == "skipped_before"


def test_a_block_that_failed_is_run_again_with_its_handler_though_neither_is_the_target() -> None:
    blocks: dict[str, Json] = {
        "start": {"type": "act", "next": ["fragile", "other"]},
        "fragile": {"type": "act", "next": "fine", "on_error": "handler"},
        "fine": {"type": "act"},
        "handler": {"type": "act"},
        "other": {"type": "act"},
    }
    graph, state = ran(blocks, frozenset({"fragile"}))
    plan = plan_rerun(graph, state, "other", state.input)
    assert set(plan.scope) == {"other", "fragile", "fine", "handler"}
    assert reasons(plan)["fragile"] == "failed_before"


def test_a_rerun_never_walks_past_a_question_that_nobody_answered() -> None:
    blocks: dict[str, Json] = {
        "before": {"type": "act", "next": "ask"},
        "ask": {"type": "human", "message": "?", "next": "after"},
        "after": {"type": "act"},
    }
    world = World(Case({"id": "w", "blocks": blocks}, frozenset()))
    world._step(None)  # pyright: ignore[reportPrivateUsage]
    world._finish_one()  # pyright: ignore[reportPrivateUsage]
    assert world.state.open_pauses()
    plan = plan_rerun(world.graph, world.state, "after", world.state.input)
    assert plan.scope == ("ask", "after")
    assert reasons(plan)["ask"] == "missing_state"
    assert plan.start == ("ask",)


def test_changed_input_runs_the_blocks_that_read_what_changed() -> None:
    blocks: dict[str, Json] = {
        "reads_a": {"type": "act", "config": {"x": "{{ input.a }}"}},
        "reads_b": {"type": "act", "config": {"x": "{{ input.b }}"}},
        "last": {"type": "act"},
    }
    graph, state = ran(blocks, given={"a": 1, "b": 2})
    plan = plan_rerun(graph, state, "last", {"a": 1, "b": 3})
    assert plan.scope == ("reads_b", "last")
    assert reasons(plan)["reads_b"] == "inputs_changed"


def test_with_another_definition_changed_and_new_blocks_run() -> None:
    before, state = ran({"a": {"type": "act"}, "b": {"type": "act"}, "c": {"type": "act"}})
    now = graph_of(
        {
            "a": {"type": "act"},
            "b": {"type": "act", "config": {"changed": True}},
            "c": {"type": "act"},
            "d": {"type": "act"},
        }
    )
    plan = plan_rerun(now, state, "c", state.input, before.document.blocks)
    assert plan.scope == ("b", "c", "d")
    assert reasons(plan) == {
        "a": "unchanged",
        "b": "definition_changed",
        "c": "target",
        "d": "new_block",
    }


def test_a_target_that_is_no_block_is_refused_with_the_blocks_there_are() -> None:
    graph, state = ran(DIAMOND)
    with pytest.raises(RerunRefused, match="a, b, c, d"):
        plan_rerun(graph, state, "nowhere", state.input)


def test_a_fork_of_a_fork_refers_to_the_original_completion() -> None:
    graph, state = ran(DIAMOND)
    original = BlockReference(execution_id=ExecutionId("the-first"), version=3)
    first = BlockPath("a")
    state.blocks[first] = replace(state.blocks[first], reused_from=original)
    plan = plan_rerun(graph, state, "d", state.input)
    references = {event.path: event.reference for event in reused_events(plan, state)}
    assert references[BlockPath("a")] == original
    assert references[BlockPath("b")].execution_id == EXECUTION


def test_comparing_tells_what_is_reused_same_changed_added_and_gone() -> None:
    _, a = ran(DIAMOND)
    _, b = ran({**DIAMOND, "e": {"type": "act"}})
    first, second, last = BlockPath("a"), BlockPath("b"), BlockPath("d")
    reused = BlockReference(execution_id=a.execution_id, version=a.blocks[first].version)
    b.blocks[first] = replace(b.blocks[first], reused_from=reused)
    b.blocks[second] = replace(b.blocks[second], outputs={"of": "something else"})
    del b.blocks[last]
    verdicts = {block.path: block.verdict for block in compare(a, b).blocks}
    assert verdicts == {"a": "reused", "b": "changed", "c": "same", "d": "gone", "e": "added"}


@given(cases(), st.integers(0, 2**32), st.data())
@settings(max_examples=200, deadline=None)
def test_nothing_is_reused_whose_past_could_turn_out_differently(case: Case, seed: int, data: st.DataObject) -> None:
    world = World(case, seed)
    state = world.run_to_the_end()
    target = data.draw(st.sampled_from(sorted(case.document["blocks"])))
    plan = plan_rerun(world.graph, state, target, state.input)
    scope = set(plan.scope)
    assert target in scope
    assert {block.path for block in plan.blocks} == set(world.graph.nodes)
    for path in plan.reused:
        assert state.blocks[path].status is BlockStatus.COMPLETED
        assert not any(edge.source in scope for edge in world.graph.nodes[path].incoming)
