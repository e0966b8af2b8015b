"""The rules of docs/reference/engine.md, one by one, in the pure core."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from playhead_contracts.events import (
    BlockDispatched,
    BlockFailed,
    BlockRetryScheduled,
    BlockStarted,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
    EventData,
    EventMatched,
    EventPublished,
    ExecutionPaused,
    Json,
    MatchedEvent,
)
from playhead_contracts.ids import PauseId
from playhead_engine.folding import evolve
from playhead_engine.scheduling import release
from playhead_engine.state import BlockStatus, ExecutionState, ExecutionStatus
from tests.unit.graphs import PERSON, START, Case, World

Blocks = dict[str, Json]


def run(
    blocks: Blocks,
    given: Json = None,
    fails: set[str] | None = None,
    seed: int = 0,
    failures: int = 10**6,
    **more: Json,
) -> World:
    """A document run to its end. `fails` are the blocks that fail, and `failures` how many of their attempts."""
    world = World(Case({"id": "w", "blocks": blocks, **more}, frozenset(fails or ()), failures), seed, given)
    world.run_to_the_end()
    return world


def statuses(state: ExecutionState) -> dict[str, str]:
    return {str(path): str(block.status) for path, block in state.blocks.items()}


def facts(world: World, kind: type[EventData]) -> list[EventData]:
    return [event.data for event in world.stream if isinstance(event.data, kind)]


def tell(world: World, fact: EventData) -> None:
    """Somebody else's fact, and what the executor makes of it."""
    evolve(world.state, fact, world.state.version + 1, world.now, PERSON)
    world._write([fact], PERSON)  # pyright: ignore[reportPrivateUsage]
    world._step(None)  # pyright: ignore[reportPrivateUsage]


def begun(blocks: Blocks, given: Json = None, **more: Json) -> World:
    """A document after its first step."""
    world = World(Case({"id": "w", "blocks": blocks, **more}, frozenset()), 0, given)
    world._step(None)  # pyright: ignore[reportPrivateUsage]
    return world


def loop(inside: Blocks | None = None, /, **fields: Any) -> Blocks:
    body = inside
    return {"each": {"type": "loop", "blocks": body or {"a": {"type": "act"}}, **fields}}


def parallel(inside: Blocks | None = None, /, **fields: Any) -> Blocks:
    body = inside
    return {"fan": {"type": "parallel", "blocks": body or {"a": {"type": "act"}}, **fields}}


class TestChoosing:
    ARMS: ClassVar[Blocks] = {"a": {"type": "act"}, "b": {"type": "act"}, "c": {"type": "act"}}

    @pytest.mark.parametrize(
        ("route", "expected"),
        [
            ("'one'", {"a"}),
            ("['one', 'two']", {"a", "b"}),
            ("['one', 'one']", {"a"}),
            ("'neither'", {"c"}),
            ("[]", set[str]()),
            ("input.where", {"b"}),
        ],
    )
    def test_a_router_activates_the_branches_that_its_expression_names(self, route: str, expected: set[str]) -> None:
        router = {"type": "router", "route": route, "next": {"one": "a", "two": "b", "else": "c"}}
        state = run({"r": router, **self.ARMS}, {"where": "two"}).state
        assert {path for path, status in statuses(state).items() if status == "completed"} == {"r", *expected}

    @pytest.mark.parametrize(("route", "error"), [("'x'", "route_unknown"), ("1", "route_invalid")])
    def test_a_route_that_leads_nowhere_is_a_failure(self, route: str, error: str) -> None:
        state = run({"r": {"type": "router", "route": route, "next": {"one": "a"}}, "a": {"type": "act"}}).state
        assert state.error is not None
        assert state.error.type == error

    def test_a_case_that_cannot_be_evaluated_is_a_failure_that_names_it(self) -> None:
        gate = {"type": "condition", "cases": {"big": "input.n > 5"}, "next": {"big": "a", "else": "b"}}
        state = run({"g": gate, "a": {"type": "act"}, "b": {"type": "act"}}, {}).state
        assert state.error is not None
        assert (state.error.type, state.error.details) == ("expression_failed", {"case": "big"})
        assert "input.n" in state.error.message

    def test_what_follows_a_disabled_block_goes_on_as_if_it_had_given_nothing(self) -> None:
        off = {"type": "act", "enabled": False, "next": "after"}
        state = run({"off": off, "after": {"type": "act"}}, output={"x": "{{ blocks.off.x }}"}).state
        assert statuses(state) == {"off": "skipped", "after": "completed"}
        assert state.output == {"x": None}

    def test_a_disabled_condition_takes_else(self) -> None:
        gate = {"type": "condition", "enabled": False, "cases": {"y": "true"}, "next": {"y": "a", "else": "b"}}
        state = run({"g": gate, "a": {"type": "act"}, "b": {"type": "act"}}).state
        assert statuses(state) == {"g": "skipped", "a": "skipped", "b": "completed"}

    def test_notes_take_no_part(self) -> None:
        state = run({"n": {"type": "note", "text": "why"}, "a": {"type": "act"}}).state
        assert statuses(state) == {"a": "completed"}


class TestLoops:
    def test_a_count_of_zero_runs_nothing(self) -> None:
        state = run({**loop(**{"for": 0, "next": "end"}), "end": {"type": "act"}}).state
        assert state.blocks["each"].outputs == {"results": [], "iterations": 0}  # pyright: ignore[reportArgumentType]
        assert statuses(state)["end"] == "completed"

    @pytest.mark.parametrize("count", ["{{ input.n }}", "input.n", 3])
    def test_a_count_may_be_a_number_a_template_or_an_expression(self, count: Json) -> None:
        world = run(loop(**{"for": count, "result": "{{ loop.index }}"}), {"n": 3}, output="{{ blocks.each.results }}")
        assert world.state.output == [0, 1, 2]

    @pytest.mark.parametrize("count", [-1, 1.5, True, "x", None])
    def test_a_count_that_is_none_is_a_failure(self, count: Json) -> None:
        state = run(loop(**{"for": "input.n"}), {"n": count}).state
        assert state.error is not None
        assert state.error.type == "count_invalid"

    def test_an_object_is_walked_as_keys_and_values_in_the_order_of_the_keys(self) -> None:
        blocks = loop(for_each="input", result="{{ loop.item }}")
        state = run(blocks, {"b": 1, "a": [2]}, output="{{ blocks.each.results }}").state
        assert state.output == [{"key": "a", "value": [2]}, {"key": "b", "value": 1}]

    @pytest.mark.parametrize("items", [None, 5, "text"])
    def test_a_wrong_collection_is_a_failure_and_not_an_empty_list(self, items: Json) -> None:
        state = run(loop(for_each="input.items"), {"items": items}).state
        assert state.error is not None
        assert state.error.type == "collection_invalid"

    def test_while_is_looked_at_before_and_do_while_after(self) -> None:
        assert run(loop(**{"while": "false"})).state.blocks["each"].outputs["iterations"] == 0  # pyright: ignore[reportArgumentType]
        assert run(loop(do_while="false")).state.blocks["each"].outputs["iterations"] == 1  # pyright: ignore[reportArgumentType]

    def test_a_condition_that_fails_to_evaluate_is_a_failure_and_not_the_end_of_the_loop(self) -> None:
        for field in ("while", "do_while"):
            state = run(loop(**{field: "input.more"}), {}).state
            assert state.error is not None
            assert state.error.type == "expression_failed"
            assert "input.more" in state.error.message

    def test_break_when_ends_the_loop_after_the_iteration_in_which_it_is_true(self) -> None:
        state = run(loop(**{"for": 10, "break_when": "loop.index == 2"})).state
        assert state.blocks["each"].outputs["iterations"] == 3  # pyright: ignore[reportArgumentType]

    def test_the_safety_limit_is_a_failure_that_names_it(self) -> None:
        state = run(loop(**{"while": "true", "max_iterations": 4})).state
        assert state.error is not None
        assert (state.error.type, state.error.details) == ("too_many_iterations", {"max_iterations": 4})
        assert "each[3]/a" in state.blocks
        assert "each[4]/a" not in state.blocks

    def test_the_result_before_is_seen_by_the_next_iteration(self) -> None:
        doubled = "{{ loop.previous == null ? 1 : loop.previous * 2 }}"
        state = run(loop(**{"for": 5, "result": doubled}), output="{{ blocks.each.results }}").state
        assert state.output == [1, 2, 4, 8, 16]

    def test_outer_containers_are_read_by_name(self) -> None:
        inner = {"type": "loop", "for_each": "blocks.outer.item", "blocks": {"a": {"type": "pure"}}}
        inner["result"] = "{{ [blocks.outer.index, loop.index, loop.item] }}"
        outer = {
            "type": "loop",
            "for_each": "input",
            "blocks": {"inner": inner},
            "result": "{{ blocks.inner.results }}",
        }
        state = run({"outer": outer}, [["x"], ["y", "z"]], output="{{ blocks.outer.results }}").state
        assert state.output == [[[0, 0, "x"]], [[1, 0, "y"], [1, 1, "z"]]]

    def test_variables_set_in_a_loop_are_those_of_the_execution(self) -> None:
        body: Blocks = {"add": {"type": "variables", "set": {"n": "{{ vars.n + loop.item }}"}}}
        state = run(loop(body, for_each="input"), [1, 2, 3], variables={"n": 0}, output="{{ vars.n }}").state
        assert (state.output, state.initial_variables) == (6, {"n": 0})

    def test_a_variable_keeps_its_type(self) -> None:
        state = run({"v": {"type": "variables", "set": {"n": "{{ input }}"}}}, "text", variables={"n": 0}).state
        assert state.error is not None
        assert state.error.type == "variable_type"


class TestParallels:
    @pytest.mark.parametrize("seed", range(5))
    def test_results_are_in_the_order_of_the_branches_whatever_finished_first(self, seed: int) -> None:
        blocks = parallel(count=4, result="{{ blocks.a.of }}")
        state = run(blocks, seed=seed, output="{{ blocks.fan.results }}").state
        assert state.output == [f"fan[{index}]/a" for index in range(4)]

    def test_no_more_branches_are_open_than_it_allows(self) -> None:
        world = begun(parallel(count=5, max_concurrency=2))
        assert [run.path for run in world.runs] == ["fan[0]/a", "fan[1]/a"]
        world.run_to_the_end()
        assert world.state.status is ExecutionStatus.COMPLETED

    def test_collect_makes_a_failed_branch_a_result(self) -> None:
        blocks = {**parallel(count=3, on_branch_error="collect", next="end"), "end": {"type": "act"}}
        state = run(blocks, fails={"fan[1]/a"}).state
        outputs: Json = state.blocks["fan"].outputs  # pyright: ignore[reportArgumentType]
        assert state.status is ExecutionStatus.COMPLETED
        assert outputs["results"] == [{"of": "fan[0]/a"}, None, {"of": "fan[2]/a"}]
        assert [error["index"] for error in outputs["errors"]] == [1]

    def test_without_it_a_failed_branch_stops_the_others_and_the_execution(self) -> None:
        body: Blocks = {"a": {"type": "act", "next": "b"}, "b": {"type": "act"}}
        state = run(parallel(body, count=2), fails={"fan[0]/a"}, seed=1).state
        assert (state.status, state.failed_block) == ("failed", "fan[0]/a")
        assert statuses(state)["fan[0]/b"] == "skipped"
        assert statuses(state)["fan"] == "failed"

    def test_a_failing_branch_closes_the_pauses_of_the_others_with_a_reason(self) -> None:
        body: Blocks = {
            "which": {
                "type": "condition",
                "cases": {"ask": "parallel.index == 0"},
                "next": {"ask": "ask", "else": "a"},
            },
            "ask": {"type": "human", "message": "?"},
            "a": {"type": "act"},
        }
        world = begun({**parallel(body, count=2, on_error="after"), "after": {"type": "act"}})
        world.case = Case(world.case.document, frozenset({"fan[1]/a"}))
        world.run_to_the_end()
        [pause] = world.state.pauses.values()
        assert (pause.status, statuses(world.state)["after"]) == ("closed", "completed")
        assert pause.reason is not None
        assert "fan[1]/a" in pause.reason


class TestFailing:
    def test_retries_are_scheduled_with_growing_pauses_up_to_the_cap(self) -> None:
        retry = {"attempts": 5, "backoff": "1s", "max_backoff": "3s", "jitter": 0, "errors": ["broken"]}
        world = run({"a": {"type": "act", "retry": retry}}, fails={"a"})
        scheduled = [fact for fact in facts(world, BlockRetryScheduled) if isinstance(fact, BlockRetryScheduled)]
        times = [event.recorded_at for event in world.stream if isinstance(event.data, BlockRetryScheduled)]
        pauses = [(fact.due_at - at).total_seconds() for fact, at in zip(scheduled, times, strict=True)]
        assert pauses == [1, 2, 3, 3]
        assert world.state.status is ExecutionStatus.FAILED
        assert len(world.completions) == 5

    def test_a_constant_pause_stays_the_same_and_jitter_only_shortens(self) -> None:
        retry = {"attempts": 4, "backoff": "10s", "strategy": "constant", "jitter": 0.5, "errors": ["broken"]}
        world = run({"a": {"type": "act", "retry": retry}}, fails={"a"})
        times = [event.recorded_at for event in world.stream if isinstance(event.data, BlockRetryScheduled)]
        due = [fact.due_at for fact in facts(world, BlockRetryScheduled) if isinstance(fact, BlockRetryScheduled)]
        pauses = [(then - at).total_seconds() for then, at in zip(due, times, strict=True)]
        assert all(5 <= pause <= 10 for pause in pauses)
        assert len(set(pauses)) == 3, "each is drawn anew"

    def test_only_the_errors_that_are_named_are_tried_again(self) -> None:
        for errors, attempts in ((["other"], 1), (["broken"], 2), (None, 1)):
            retry: dict[str, Json] = {"attempts": 2, "backoff": "0s"} | ({"errors": errors} if errors else {})
            assert len(run({"a": {"type": "act", "retry": retry}}, fails={"a"}).completions) == attempts

    def test_a_block_that_succeeds_at_last_is_completed_with_its_attempts_counted(self) -> None:
        retry = {"attempts": 3, "backoff": "1s", "errors": ["broken"]}
        state = run({"a": {"type": "act", "retry": retry}}, fails={"a"}, failures=2).state
        block = state.blocks["a"]  # pyright: ignore[reportArgumentType]
        assert (block.status, block.attempt, block.retries) == (BlockStatus.COMPLETED, 3, 2)

    def test_continue_on_error_goes_on_and_says_that_it_failed(self) -> None:
        blocks: Blocks = {"a": {"type": "act", "continue_on_error": True, "next": "b"}, "b": {"type": "act"}}
        state = run(blocks, fails={"a"}, output={"why": "{{ blocks.a.error.type }}", "x": "{{ blocks.a.of }}"}).state
        assert statuses(state) == {"a": "failed", "b": "completed"}
        assert (state.output, state.counts.failed) == ({"why": "broken", "x": None}, 1)

    def test_a_container_handles_what_fails_inside_of_it(self) -> None:
        blocks = {**loop(**{"for": 3, "on_error": "after"}), "after": {"type": "act"}}
        state = run(blocks, fails={"each[1]/a"}).state
        assert state.status is ExecutionStatus.COMPLETED
        assert statuses(state)["each"] == "failed"
        assert "each[2]/a" not in state.blocks
        error = state.blocks["each"].error  # pyright: ignore[reportArgumentType]
        assert error is not None
        assert (error.type, error.details["block"], error.details["index"]) == ("broken", "each[1]/a", 1)

    def test_several_error_edges_may_lead_to_one_handler(self) -> None:
        blocks: Blocks = {
            "a": {"type": "act", "on_error": "h", "next": "b"},
            "b": {"type": "act", "on_error": "h"},
            "h": {"type": "act"},
        }
        assert statuses(run(blocks, fails={"b"}).state)["h"] == "completed"
        assert statuses(run(blocks).state)["h"] == "skipped"

    def test_a_deadline_ends_the_execution_and_what_is_in_flight(self) -> None:
        world = begun({"a": {"type": "act", "next": "b"}, "b": {"type": "act"}}, timeout="60s")
        world.now += timedelta(seconds=61)
        world._step(None)  # pyright: ignore[reportPrivateUsage]
        assert (world.state.status, statuses(world.state)) == ("timed_out", {"a": "failed", "b": "skipped"})

    def test_a_container_deadline_is_a_timeout_of_the_container(self) -> None:
        blocks = {**parallel(count=2, timeout="60s", on_error="after"), "after": {"type": "act"}}
        world = begun(blocks)
        world.now += timedelta(seconds=61)
        world._step(None)  # pyright: ignore[reportPrivateUsage]
        world.run_to_the_end()
        assert world.state.status is ExecutionStatus.COMPLETED
        failed = [fact for fact in facts(world, BlockFailed) if isinstance(fact, BlockFailed) and fact.path == "fan"]
        assert failed[0].error.type == "timeout"


class TestWaiting:
    WAIT: ClassVar[Blocks] = {"w": {"type": "wait", "events": [{"type": "paid"}, {"type": "sent"}], "next": "end"}}
    END: ClassVar[Blocks] = {"end": {"type": "act"}}

    def matched(self, number: int) -> EventMatched:
        event = MatchedEvent(number=number, position=9, type="paid", source="/s", id=f"e{number}", data={"n": number})
        return EventMatched(path="w", event=event)  # pyright: ignore[reportArgumentType]

    def test_the_first_of_several_events_is_enough_for_any(self) -> None:
        world = begun({**self.WAIT, **self.END})
        tell(world, self.matched(1))
        outputs: Json = world.state.blocks["w"].outputs  # pyright: ignore[reportArgumentType]
        assert outputs["event"]["data"] == {"n": 1}
        assert len(outputs["events"]) == 1

    def test_all_must_come_for_all_and_are_given_in_their_order(self) -> None:
        wait = {**self.WAIT["w"], "need": "all"}
        world = begun({"w": wait, **self.END})
        tell(world, self.matched(1))
        assert statuses(world.state) == {"w": "waiting"}
        tell(world, self.matched(0))
        outputs: Json = world.state.blocks["w"].outputs  # pyright: ignore[reportArgumentType]
        assert [event["number"] for event in outputs["events"]] == [0, 1]

    def test_a_filter_takes_along_what_it_reads_of_the_execution(self) -> None:
        events = [{"type": "paid", "match": "event.data.id == input.order.id && event.data.n > vars.least"}]
        wait = {"type": "wait", "events": events}
        world = begun({"w": wait}, {"order": {"id": 7, "other": 1}}, variables={"least": 5})
        [started] = [fact for fact in facts(world, BlockStarted) if isinstance(fact, BlockStarted)]
        assert started.watch is not None
        assert started.watch.captured == {"input": {"order": {"id": 7}}, "vars": {"least": 5}}

    def test_events_that_do_not_come_in_time_are_a_timeout(self) -> None:
        wait: Json = {**self.WAIT["w"], "timeout": "60s", "on_error": "end", "next": []}
        state = run({"w": wait, **self.END}).state
        assert statuses(state) == {"w": "failed", "end": "completed"}

    def test_an_event_is_published_together_with_its_block(self) -> None:
        world = run({"p": {"type": "publish", "event": "refund.approved", "data": {"n": "{{ input }}"}}}, 5)
        [published] = [fact for fact in facts(world, EventPublished) if isinstance(fact, EventPublished)]
        assert (published.event_type, published.content) == ("refund.approved", {"n": 5})

    def test_a_task_is_given_out_once_for_each_attempt(self) -> None:
        world = begun({"t": {"type": "task", "task": "resize", "inputs": {"n": "{{ input }}"}}}, 5)
        [task] = [fact for fact in facts(world, BlockDispatched) if isinstance(fact, BlockDispatched)]
        assert (task.task, task.inputs, task.deadline) == ("resize", {"n": 5}, START + timedelta(hours=1))
        assert world.runs == []
        world.crash()
        assert len(facts(world, BlockDispatched)) == 1


class TestChildren:
    BLOCKS: ClassVar[Blocks] = {"c": {"type": "workflow", "workflow": "other", "next": "end"}, "end": {"type": "act"}}

    def started(self) -> tuple[World, BlockStarted]:
        world = begun(self.BLOCKS)
        [fact] = [fact for fact in facts(world, BlockStarted) if isinstance(fact, BlockStarted)]
        return world, fact

    def waiting(self) -> tuple[World, BlockStarted]:
        """With the child in the log."""
        world, fact = self.started()
        assert fact.child is not None
        world.runs.clear()
        tell(world, ChildStarted(path=fact.path, child=fact.child))
        return world, fact

    def test_the_child_is_named_before_it_is_started_and_keeps_its_name_after_a_crash(self) -> None:
        world, first = self.started()
        world.crash()
        again = [fact for fact in facts(world, BlockStarted) if isinstance(fact, BlockStarted)]
        assert [fact.child for fact in again] == [first.child, first.child]

    def test_its_parent_goes_on_with_what_it_gave(self) -> None:
        world, fact = self.waiting()
        assert fact.child is not None
        tell(world, ChildEnded(path=fact.path, child=fact.child, status="completed", outputs={"n": 1}))
        outputs: Json = world.state.blocks["c"].outputs  # pyright: ignore[reportArgumentType]
        assert outputs == {"execution_id": fact.child, "status": "completed", "output": {"n": 1}}

    def test_a_child_that_ended_before_its_start_was_noted_is_not_missed(self) -> None:
        world, fact = self.started()
        assert fact.child is not None
        world.runs.clear()
        tell(world, ChildEnded(path=fact.path, child=fact.child, status="completed", outputs=1))
        tell(world, ChildStarted(path=fact.path, child=fact.child))
        assert statuses(world.state)["c"] == "completed"

    def test_a_failed_child_is_a_failure_of_its_block(self) -> None:
        world, fact = self.waiting()
        assert fact.child is not None
        tell(world, ChildEnded(path=fact.path, child=fact.child, status="cancelled"))
        assert (world.state.status, world.state.error and world.state.error.type) == ("failed", "child_cancelled")

    def test_a_child_that_asks_people_pauses_its_parent(self) -> None:
        world, fact = self.waiting()
        assert fact.child is not None
        tell(world, ChildPaused(path=fact.path, child=fact.child, pauses=(PauseId("p-1"),)))
        paused = release(world.state, world._moment())  # pyright: ignore[reportPrivateUsage]
        assert isinstance(paused, ExecutionPaused)
        assert paused.pauses == ("p-1",)
        assert world.state.asked_pauses() == ("p-1",)

    def test_when_it_goes_on_nobody_is_asked_any_more(self) -> None:
        world, fact = self.waiting()
        assert fact.child is not None
        tell(world, ChildPaused(path=fact.path, child=fact.child, pauses=(PauseId("p-1"),)))
        tell(world, ChildResumed(path=fact.path, child=fact.child))
        assert world.state.asked_pauses() == ()
