"""Run-from-block: what is repeated, what is taken over, and why (docs/rerun.md)."""

from random import Random
from typing import Any, ClassVar, cast

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead_contracts.events import BlockReference, BlockReused, IterationReused, Json
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_engine.compare import compare
from playhead_engine.rerun import Plan, RerunOrder, RerunRefused, digest_of_plan
from playhead_engine.state import BlockStatus, ExecutionState
from tests.unit.graphs import EXECUTION, Case, World, cases

Blocks = dict[str, Json]


def ran(blocks: Blocks, given: Json = None, fails: set[str] | None = None, **more: Json) -> World:
    world = World(Case({"id": "w", "blocks": blocks, **more}, frozenset(fails or ())), given=given, is_telling=True)
    world.run_to_the_end()
    return world


def order(*targets: str, given: Json = None, **more: Any) -> RerunOrder:
    return RerunOrder(targets=targets, input=given, **more)


def reasons(plan: Plan) -> dict[str, list[str]]:
    return {block.path: [reason.why for reason in block.reasons] for block in plan.blocks}


def actions(plan: Plan) -> dict[str, str]:
    return {block.path: block.action for block in plan.blocks}


def rerun(world: World, wanted: RerunOrder, blocks: Blocks | None = None, **more: Any) -> tuple[Plan, World]:
    """The plan, and the fork run to its end."""
    plan, fork = world.rerun(wanted, None if blocks is None else {"id": "w", "blocks": blocks}, **more)
    fork.run_to_the_end()
    return plan, fork


def rerun_or_pass(world: World, wanted: RerunOrder, blocks: Blocks | None = None, **more: Any) -> tuple[Plan, World]:
    """As `rerun`; a target to which no path leads is not what is looked for."""
    try:
        return rerun(world, wanted, blocks, **more)
    except RerunRefused as refused:
        assume("nothing would run" not in refused.detail)
        raise


def paths_run(world: World) -> set[str]:
    return {path for path, _ in world.completions}


DIAMOND: Blocks = {
    "a": {"type": "act", "next": ["b", "c"]},
    "b": {"type": "act", "next": "d"},
    "c": {"type": "act", "next": "d"},
    "d": {"type": "act"},
}

GATE: Blocks = {
    "gate": {"type": "condition", "cases": {"high": "input.n > 5"}, "next": {"high": "left", "else": "right"}},
    "left": {"type": "act", "next": "merge"},
    "right": {"type": "act", "next": "merge"},
    "merge": {"type": "act"},
}


class TestScope:
    def test_a_disabled_block_that_was_never_reached_lets_the_fork_pass(self) -> None:
        # The response ends the execution before the disabled block is looked at: that skip lets nothing pass.
        source = ran(
            {
                "answer": {"type": "response", "body": "done"},
                "off": {"type": "act", "enabled": False, "next": "after"},
                "after": {"type": "act"},
            }
        )
        source.stream = [event for event in source.stream if event.version < 5]
        plan, fork = rerun(source, order("after"))
        assert "after" in plan.scope
        assert paths_run(fork) <= set(plan.scope)

    def test_the_target_and_everything_downstream_run_and_the_rest_is_reused(self) -> None:
        plan, fork = rerun(ran(DIAMOND), order("b"))
        assert (plan.scope, plan.reused, plan.start) == (("b", "d"), ("a", "c"), ("b",))
        assert reasons(plan) == {"a": ["unchanged"], "c": ["unchanged"], "b": ["target"], "d": ["downstream_of"]}
        assert paths_run(fork) == {"b", "d"}

    def test_several_targets_run_each_with_all_its_reasons(self) -> None:
        plan, fork = rerun(ran(DIAMOND), order("b", "d"))
        assert reasons(plan)["d"] == ["target", "downstream_of"]
        assert paths_run(fork) == {"b", "d"}

    def test_a_merge_behind_a_branch_can_be_the_target_although_one_arm_was_not_taken(self) -> None:
        plan, fork = rerun(ran(GATE, {"n": 9}), order("merge", given={"n": 9}))
        assert plan.scope == ("merge",)
        assert (actions(plan)["right"], reasons(plan)["right"]) == ("decide", ["skipped_before"])
        assert paths_run(fork) == {"merge"}

    def test_never_both_arms_when_the_route_changes(self) -> None:
        world = ran(GATE, {"n": 9})
        plan, fork = rerun(world, order("merge", given={"n": 1}))
        assert reasons(plan)["gate"] == ["input_changed"]
        assert "route_may_change" in reasons(plan)["right"]
        assert paths_run(fork) == {"right", "merge"}
        assert fork.state.blocks[BlockPath("left")].status is BlockStatus.SKIPPED

    def test_an_input_that_leads_the_same_way_repeats_nothing_but_the_target(self) -> None:
        plan, fork = rerun(ran(GATE, {"n": 9}), order("merge", given={"n": 8}))
        assert plan.scope == ("merge",)
        assert paths_run(fork) == {"merge"}

    def test_a_block_that_failed_runs_again_and_its_old_handler_does_not_after_a_success(self) -> None:
        blocks: Blocks = {
            "start": {"type": "act", "next": ["fragile", "other"]},
            "fragile": {"type": "act", "next": "fine", "on_error": "handler"},
            "fine": {"type": "act"},
            "handler": {"type": "act"},
            "other": {"type": "act"},
        }
        world = ran(blocks, fails={"fragile"})
        world.case = replace(world.case, fails=frozenset())
        plan, fork = rerun(world, order("other"))
        assert reasons(plan)["fragile"] == ["was_failed"]
        assert set(plan.scope) == {"fragile", "fine", "handler", "other"}
        assert paths_run(fork) == {"fragile", "fine", "other"}

    def test_a_rerun_never_walks_past_a_question_that_nobody_answered(self) -> None:
        blocks: Blocks = {
            "before": {"type": "act", "next": "ask"},
            "ask": {"type": "human", "message": "?", "next": "after"},
            "after": {"type": "act"},
        }
        world = World(Case({"id": "w", "blocks": blocks}, frozenset()))
        world._step(None)  # pyright: ignore[reportPrivateUsage]
        world._finish_one()  # pyright: ignore[reportPrivateUsage]
        plan, fork = rerun(world, order("after"))
        assert (reasons(plan)["ask"], plan.start, plan.asks_again) == (["was_paused"], ("ask",), ("ask",))
        assert len(fork.state.pauses) == 1

    def test_an_answered_pause_keeps_its_answer_outside_and_is_asked_anew_inside(self) -> None:
        blocks: Blocks = {
            "ask": {"type": "human", "message": "{{ input.n }}?", "next": "after"},
            "after": {"type": "act"},
        }
        world = ran(blocks, {"n": 1})
        _, fork = rerun(world, order("after", given={"n": 1}))
        assert not fork.state.pauses
        plan, fork = rerun(world, order("after", given={"n": 2}))
        assert (reasons(plan)["ask"], plan.asks_again) == (["input_changed"], ("ask",))
        assert len(fork.state.pauses) == 1

    def test_a_target_in_an_arm_that_is_not_taken_is_refused_with_why(self) -> None:
        with pytest.raises(RerunRefused, match="right is a target, but what comes before it"):
            ran(GATE, {"n": 9}).rerun(order("right", given={"n": 9}))

    def test_a_target_that_is_no_block_is_refused_with_near_names(self) -> None:
        world = ran({"score": {"type": "act"}, "pay": {"type": "act"}})
        with pytest.raises(RerunRefused, match=r"did you mean score\?"):
            world.rerun(order("scroe"))
        with pytest.raises(RerunRefused, match="no iterations"):
            world.rerun(order("score[1]"))


class TestChanges:
    def test_changed_input_runs_the_blocks_that_read_what_changed(self) -> None:
        blocks: Blocks = {
            "reads_a": {"type": "act", "config": {"x": "{{ input.a }}"}},
            "reads_b": {"type": "act", "config": {"x": "{{ input.b }}"}},
            "big": {"type": "act", "config": {"x": "{{ input.b > 0 }}"}},
            "last": {"type": "act"},
        }
        plan, _ = rerun(ran(blocks, {"a": 1, "b": 2}), order("last", given={"a": 1, "b": 3}))
        assert plan.scope == ("reads_b", "last")
        [reason] = next(block for block in plan.blocks if block.path == "reads_b").reasons
        assert (reason.why, reason.detail) == ("input_changed", "input.b")

    def test_with_another_definition_changed_and_new_blocks_run_and_removed_ones_are_told(self) -> None:
        blocks: Blocks = {"a": {"type": "act"}, "b": {"type": "act"}, "c": {"type": "act"}, "old": {"type": "act"}}
        now: Blocks = {
            "a": {"type": "act"},
            "b": {"type": "act", "config": {"changed": True}},
            "c": {"type": "act"},
            "d": {"type": "act"},
        }
        plan, _ = rerun(ran(blocks), order("c"), now)
        assert plan.scope == ("b", "c", "d")
        assert reasons(plan) == {
            "a": ["unchanged"],
            "b": ["definition_changed"],
            "c": ["target"],
            "d": ["new_block"],
            "old": ["removed_block"],
        }

    def test_an_output_can_be_put_in_the_place_of_what_a_block_gave(self) -> None:
        blocks: Blocks = {
            "a": {"type": "act", "next": ["reads", "passes"]},
            "reads": {"type": "act", "config": {"x": "{{ blocks.a.n }}"}},
            "passes": {"type": "act"},
        }
        plan, fork = rerun(ran(blocks), order(overrides={"a": {"n": 17}}))
        assert actions(plan) == {"a": "override", "reads": "run", "passes": "reuse"}
        assert paths_run(fork) == {"reads"}
        assert fork.state.blocks[BlockPath("a")].overridden
        assert fork.state.blocks[BlockPath("reads")].inputs == {"x": 17}

    def test_a_decision_can_be_put_in_the_place_of_another(self) -> None:
        plan, fork = rerun(ran(GATE, {"n": 9}), order(given={"n": 9}, overrides={"gate": {"case": "else"}}))
        assert actions(plan)["left"] == "decide"
        assert paths_run(fork) == {"right", "merge"}

    def test_until_a_block_nothing_beyond_or_beside_it_runs(self) -> None:
        plan, fork = rerun(ran(DIAMOND), order("a", until_block="b"))
        assert actions(plan) == {"a": "run", "b": "run", "c": "leave_out", "d": "leave_out"}
        assert paths_run(fork) == {"a", "b"}
        assert fork.state.status == "completed"
        with pytest.raises(RerunRefused, match="does not lead to"):
            ran(DIAMOND).rerun(order("c", until_block="b"))

    def test_when_nothing_can_be_reused_the_plan_says_which_change_did_it(self) -> None:
        world = ran({"a": {"type": "act", "next": "b"}, "b": {"type": "act"}})
        now: Blocks = {"a": {"type": "act", "config": {"x": 1}, "next": "b"}, "b": {"type": "act"}}
        plan, _ = rerun(world, order("b"), now)
        assert plan.notes == ("everything runs again: the definition of a is not what it was",)

    def test_what_acts_outside_and_is_done_again_is_told(self) -> None:
        blocks: Blocks = {
            "look": {"type": "act", "effects": "none", "next": "pay"},
            "pay": {"type": "act", "next": "note"},
            "note": {"type": "pure"},
        }
        plan, _ = rerun(ran(blocks), order("look"))
        assert plan.repeats == ("pay",)
        assert {block.path: block.effects for block in plan.blocks} == {
            "look": "none",
            "pay": "external",
            "note": "none",
        }

    def test_a_plan_has_a_digest_that_is_another_for_another_plan(self) -> None:
        world = ran(DIAMOND)
        first, again, other = (world.rerun(order(target))[0] for target in ("b", "b", "c"))
        assert first.digest == again.digest == digest_of_plan(first) != other.digest


class TestIterations:
    LOOP: ClassVar[Blocks] = {
        "each": {
            "type": "loop",
            "for_each": "input.items",
            "blocks": {
                "one": {"type": "act", "config": {"x": "{{ loop.item }}"}, "next": "two"},
                "two": {"type": "act", "config": {"x": "{{ blocks.one.n }}"}},
            },
            "next": "after",
        },
        "after": {"type": "act", "config": {"x": "{{ blocks.each.results }}"}},
    }

    def test_a_loop_goes_on_from_an_iteration_and_keeps_those_before(self) -> None:
        items = {"items": [1, 2, 3, 4]}
        world = ran(self.LOOP, items)
        plan, fork = rerun(world, order("each[2]", given=items))
        assert (actions(plan)["each"], plan.blocks[0].iterations_reused) == ("partly", (0, 1))
        assert paths_run(fork) == {f"each[{i}]/{name}" for i in (2, 3) for name in ("one", "two")} | {"after"}
        assert fork.state.output == world.state.output

    def test_an_iteration_goes_on_from_a_block_in_it(self) -> None:
        items = {"items": [1, 2, 3]}
        world = ran(self.LOOP, items)
        plan, fork = rerun(world, order("each[1]/two", given=items))
        assert paths_run(fork) == {"each[1]/two", "each[2]/one", "each[2]/two", "after"}
        assert [(block.path, block.action) for block in plan.blocks[0].blocks] == [
            ("each[1]/one", "reuse"),
            ("each[1]/two", "run"),
        ]
        assert fork.state.output == world.state.output

    def test_of_a_parallel_only_the_branches_touched_run(self) -> None:
        blocks: Blocks = {
            "fan": {
                "type": "parallel",
                "count": 5,
                "max_concurrency": 2,
                "blocks": {"one": {"type": "act", "next": "two"}, "two": {"type": "act"}},
            }
        }
        world = ran(blocks)
        plan, fork = rerun(world, order("fan[1]", "fan[4]/two"))
        assert plan.blocks[0].iterations_reused == (0, 2, 3)
        assert paths_run(fork) == {"fan[1]/one", "fan[1]/two", "fan[4]/two"}
        assert fork.state.output == world.state.output

    def test_nested_containers_are_taken_over_at_every_level(self) -> None:
        inner = {"type": "parallel", "count": 2, "blocks": {"one": {"type": "act"}}, "next": "then"}
        blocks: Blocks = {
            "outer": {"type": "loop", "for": 3, "blocks": {"fan": inner, "then": {"type": "act"}}},
        }
        world = ran(blocks)
        _, fork = rerun(world, order("outer[1]/fan[0]/one"))
        assert paths_run(fork) == {
            "outer[1]/fan[0]/one",
            "outer[1]/then",
            "outer[2]/fan[0]/one",
            "outer[2]/fan[1]/one",
            "outer[2]/then",
        }
        assert fork.state.output == world.state.output

    def test_a_failed_branch_alone_is_run_again(self) -> None:
        fan: Blocks = {"type": "parallel", "count": 3, "on_branch_error": "collect", "blocks": {"one": {"type": "act"}}}
        world = ran({"fan": fan}, fails={"fan[1]/one"})
        assert [error["index"] for error in world.state.blocks[BlockPath("fan")].outputs["errors"]] == [1]
        world.case = replace(world.case, fails=frozenset())
        plan, fork = rerun(world, order("fan[1]"))
        assert plan.blocks[0].iterations_reused == (0, 2)
        assert paths_run(fork) == {"fan[1]/one"}
        assert fork.state.blocks[BlockPath("fan")].outputs["errors"] == []

    def test_where_iterations_decide_about_each_other_the_plan_says_that_it_restarts(self) -> None:
        blocks: Blocks = {"each": {"type": "loop", "while": "loop.index < 3", "blocks": {"one": {"type": "act"}}}}
        plan, fork = rerun(ran(blocks), order("each[1]"))
        assert actions(plan) == {"each": "run"}
        assert "restarts" in reasons(plan)["each"]
        assert "restarts from its beginning" in plan.notes[0]
        assert len(fork.completions) == 3

    def test_an_iteration_that_was_not_there_is_refused(self) -> None:
        with pytest.raises(RerunRefused, match="there were 2"):
            ran(self.LOOP, {"items": [1, 2]}).rerun(order("each[2]", given={"items": [1, 2]}))

    def test_variables_set_in_iterations_that_are_taken_over_are_as_they_were(self) -> None:
        blocks: Blocks = {
            "each": {
                "type": "loop",
                "for": 3,
                "blocks": {
                    "count": {"type": "variables", "set": {"n": "{{ vars.n + 1 }}"}, "next": "tell"},
                    "tell": {"type": "act", "config": {"n": "{{ vars.n }}"}},
                },
            }
        }
        world = ran(blocks, variables={"n": 0})
        plan, fork = world.rerun(order("each[2]", variables={"n": 0}))
        fork.run_to_the_end()
        assert plan.blocks[0].iterations_reused == (0, 1)
        assert fork.state.variables == {"n": 3}
        assert fork.state.output == world.state.output

    def test_a_fork_of_a_fork_refers_to_the_original_facts(self) -> None:
        items = {"items": [1, 2, 3]}
        world = ran(self.LOOP, items)
        _, fork = rerun(world, order("each[1]", given=items))
        _, second = rerun(fork, order("each[2]", given=items), fork="g")
        references = [
            event.data.reference.execution_id
            for event in second.stream
            if isinstance(event.data, IterationReused | BlockReused)
        ]
        assert references == [EXECUTION, ExecutionId("f")]
        assert second.state.output == world.state.output


class TestEarlyCutoff:
    CHAIN: ClassVar[Blocks] = {
        "a": {"type": "act", "config": {"x": "{{ input.n }}"}, "next": "b"},
        "b": {"type": "act", "config": {"x": "{{ blocks.a.n }}"}, "next": "c"},
        "c": {"type": "act", "config": {"x": "{{ blocks.b.n }}"}},
    }

    def test_what_depends_on_nothing_else_is_taken_over_once_the_same_came_out(self) -> None:
        world = ran(self.CHAIN, {"n": 1})
        plan, fork = rerun(world, order("a", given={"n": 1}, early_cutoff=True))
        assert [block.may_be_cut_off for block in plan.blocks] == [False, True, True]
        assert paths_run(fork) == {"a"}
        assert fork.state.output == world.state.output
        assert fork.state.counts.reused == 2

    def test_what_came_out_differently_goes_on_as_far_as_it_makes_a_difference(self) -> None:
        world = ran(self.CHAIN, {"n": 1})
        full = ran(self.CHAIN, {"n": 2})
        _, fork = rerun(world, order("a", given={"n": 2}, early_cutoff=True))
        assert fork.state.output == full.state.output

    def test_people_are_asked_all_the_same(self) -> None:
        blocks: Blocks = {
            "a": {"type": "act", "next": "ask"},
            "ask": {"type": "human", "message": "?", "next": "b"},
            "b": {"type": "act"},
        }
        _, fork = rerun(ran(blocks), order("a", early_cutoff=True))
        assert len(fork.state.pauses) == 1
        assert paths_run(fork) == {"a"}


def test_comparing_tells_what_is_reused_same_changed_added_and_gone() -> None:
    a, b = ran(DIAMOND).state, ran({**DIAMOND, "e": {"type": "act"}}).state
    first, second, last = BlockPath("a"), BlockPath("b"), BlockPath("d")
    reused = BlockReference(execution_id=a.execution_id, version=a.blocks[first].version)
    b.blocks[first] = replace(b.blocks[first], reused_from=reused)
    b.blocks[second] = replace(b.blocks[second], outputs={"of": "something else"})
    del b.blocks[last]
    verdicts = {block.path: block.verdict for block in compare(a, b).blocks}
    assert verdicts == {"a": "reused", "b": "changed", "c": "same", "d": "gone", "e": "added"}


@st.composite
def flows(draw: st.DrawFn) -> Blocks:
    """Acyclic graphs through which data flows: blocks read the input and what comes before them."""
    size = draw(st.integers(1, 7))
    names = [f"b{index}" for index in range(size)]
    edges = {name: draw(st.lists(st.sampled_from(names[i + 1 :]), max_size=2, unique=True)) if i + 1 < size else []
             for i, name in enumerate(names)}  # fmt: skip
    before: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for target in edges[name]:
            before[target] |= {name} | before[name]
    blocks: Blocks = {}
    for name in names:
        sources = sorted(before[name])
        read = ["input.x", "input.y", *(f"blocks.{source}.n" for source in sources)]
        value = draw(st.sampled_from(read))
        kinds = ["act", "pure", "loop", "parallel", "human"] + (["condition"] if edges[name] else [])
        kind = draw(st.sampled_from(kinds))
        config = {"x": "{{ %s }}" % value}
        block: Blocks = {"type": kind, "next": edges[name]}
        match kind:
            case "condition":
                block["cases"] = {"yes": f"{draw(st.sampled_from(['input.x', 'input.y']))} > 1"}
                arms = edges[name]
                block["next"] = {"yes": arms[:1], "else": arms[1:]}
            case "human":
                block["message"] = "{{ %s }}?" % draw(st.sampled_from(["input.x", "input.y"]))
            case "loop":
                block |= {"for": 2, "blocks": {"i" + name: {"type": "act", "config": config}}}
            case "parallel":
                inner = {"type": "act", "config": {"x": "{{ input.y + parallel.item }}"}}
                block |= {"collection": "[1, 2]", "blocks": {"i" + name: inner}}
            case _:
                block["config"] = config
        blocks[name] = block
    return blocks


inputs = st.fixed_dictionaries({"x": st.integers(0, 3), "y": st.integers(0, 3)})


def ends(state: ExecutionState) -> object:
    """What the outermost blocks came to."""
    blocks = {
        path: (block.status, timeless(block.outputs), block.decision)
        for path, block in state.blocks.items()
        if "[" not in path
    }
    return state.status, blocks, timeless(state.output)


def timeless(value: Json) -> Json:
    if isinstance(value, dict):
        found = cast("dict[str, Json]", value)
        return {name: timeless(field) for name, field in found.items() if name != "decided_at"}
    return value


@given(flows(), inputs, inputs, st.data(), st.integers(0, 99), st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_fork_comes_to_what_a_full_run_comes_to_and_runs_nothing_outside_its_plan(
    blocks: Blocks, first: Json, second: Json, data: st.DataObject, seed: int, cutoff: bool
) -> None:
    source = ran(blocks, first)
    assume(source.state.status == "completed")
    full = ran(blocks, second)
    assume(full.state.status == "completed")
    targets = data.draw(st.lists(st.sampled_from(sorted(blocks)), min_size=1, max_size=2, unique=True))
    wanted = order(*targets, given=second, early_cutoff=cutoff)
    plan, fork = rerun_or_pass(source, wanted, seed=seed)
    assert ends(fork.state) == ends(full.state)
    assert {path.split("[")[0] for path in paths_run(fork)} <= set(plan.scope)
    reused_at_once = {event.data.path for event in fork.stream if isinstance(event.data, BlockReused)}
    assert set(plan.reused) <= reused_at_once


@given(flows(), inputs, inputs, st.data(), st.integers(0, 99), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_fork_whose_executors_crash_comes_to_the_same(
    blocks: Blocks, first: Json, second: Json, data: st.DataObject, seed: int, cutoff: bool
) -> None:
    source, full = ran(blocks, first), ran(blocks, second)
    assume(source.state.status == full.state.status == "completed")
    target = data.draw(st.sampled_from(sorted(blocks)))
    plan, fork = rerun_or_pass(source, order(target, given=second, early_cutoff=cutoff))
    fork = source.rerun(order(target, given=second, early_cutoff=cutoff), fork="again")[1]
    assert plan.scope
    crashes = Random(seed)
    fork.run_to_the_end(after_append=lambda _: crashes.random() < 0.15, limit=2000)
    assert ends(fork.state) == ends(full.state)


@given(flows(), inputs, inputs, st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_block_in_a_plan_is_there_for_a_reason_that_holds(
    blocks: Blocks, first: Json, second: Json, data: st.DataObject
) -> None:
    """Minimal: what is neither a target nor behind a block that runs would have come out differently."""
    source, full = ran(blocks, first), ran(blocks, second)
    assume(source.state.status == full.state.status == "completed")
    target = data.draw(st.sampled_from(sorted(blocks)))
    plan, _ = rerun_or_pass(source, order(target, given=second))
    for block in plan.blocks:
        whys = {reason.why for reason in block.reasons}
        if block.action != "run" or whys & {"target", "downstream_of"}:
            continue
        before, now = source.state.blocks[block.path], full.state.blocks[block.path]
        assert (before.status, before.inputs, before.decision) != (now.status, now.inputs, now.decision) or (
            block.asks or "[" in str([path for path in full.state.blocks if path.startswith(block.path + "[")])
        )
    for reason in (reason for block in plan.blocks for reason in block.reasons if reason.why == "downstream_of"):
        assert reason.of in plan.scope


@given(flows(), flows(), inputs, st.integers(0, 99))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_after_any_edit_a_fork_comes_to_what_the_new_definition_comes_to(
    before: Blocks, after: Blocks, given_: Json, seed: int
) -> None:
    source, full = ran(before, given_), ran(after, given_)
    assume(source.state.status == full.state.status == "completed")
    plan, fork = rerun_or_pass(source, order(min(after), given=given_), after, seed=seed)
    assert ends(fork.state) == ends(full.state)
    assert {path.split("[")[0] for path in paths_run(fork)} <= set(plan.scope)


@given(cases(max_blocks=8), st.integers(0, 40), st.data())
@settings(max_examples=200, deadline=None)
def test_from_any_moment_of_any_execution_a_fork_comes_to_an_end(case: Case, moment: int, data: st.DataObject) -> None:
    world = World(case)
    world.run_to_the_end()
    world.stream = world.stream[: max(2, min(moment, len(world.stream)))]
    target = data.draw(st.sampled_from(sorted(str(path) for path in world.graph.nodes)))
    plan, fork = rerun_or_pass(world, order(target, variables={"n": 0}))
    assert fork.state.is_ended
    assert {path.split("[")[0] for path in paths_run(fork)} <= set(plan.scope)
