"""What must hold for every graph, every order of completions and every crash (docs/architecture.md)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.events import BlockCompleted, BlockFailed, IterationCompleted
from playhead_contracts.ids import BlockPath
from playhead_engine.folding import fold, own_copy
from playhead_engine.scheduling import advance, is_active
from playhead_engine.state import SETTLED, BlockStatus, ExecutionStatus
from tests.unit.graphs import Case, World, cases, outcome

SEEDS = st.integers(0, 2**32)


@given(cases(), SEEDS)
@settings(max_examples=250, deadline=None)
def test_every_block_settles_and_nothing_ever_stalls(case: Case, seed: int) -> None:
    world = World(case, seed)
    state = world.run_to_the_end()
    assert {path for path in state.blocks if "[" not in path} == set(case.document["blocks"])
    assert all(block.status in SETTLED for block in state.blocks.values())
    assert state.error is None or state.error.type != "stalled"
    assert not state.open_pauses()
    assert [*state.running, *state.waiting, *state.containers, *state.iterations] == []
    for path in state.blocks:
        # Every iteration that began anything settled every block of its body.
        place = path.rpartition("/")[0]
        body = world.graph.node(path).body
        assert not place or {BlockPath(f"{place}/{block_id}") for block_id in body.nodes} <= set(state.blocks)


@given(cases(), SEEDS)
@settings(max_examples=150, deadline=None)
def test_a_block_runs_exactly_if_an_active_edge_leads_to_it(case: Case, seed: int) -> None:
    world = World(case, seed)
    state = world.run_to_the_end()
    if state.stop is not None:
        return  # what had not started by then is skipped whatever leads to it
    stopped = {path.rpartition("/")[0] for path, block in state.blocks.items() if block.error and not block.handled}
    for path, block in state.blocks.items():
        node, place = world.graph.node(path), path.rpartition("/")[0]
        if any(place == scope or place.startswith((f"{scope}/", scope.rpartition("[")[0])) for scope in stopped):
            continue  # the same holds of an iteration that a failure stopped
        sources = (
            (edge, state.blocks[BlockPath(f"{path.removesuffix(node.id)}{edge.source}")]) for edge in node.incoming
        )
        active = any(is_active(edge, source) for edge, source in sources) or not node.incoming
        assert (block.status is not BlockStatus.SKIPPED or block.continues) == active


@given(cases(), SEEDS, st.data())
@settings(max_examples=150, deadline=None)
def test_folding_in_parts_equals_folding_at_once(case: Case, seed: int, data: st.DataObject) -> None:
    world = World(case, seed)
    world.run_to_the_end()
    cut = data.draw(st.integers(1, len(world.stream)))
    first = fold(world.stream[:cut])
    before = own_copy(first) if first else None
    assert fold(world.stream[cut:], first) == fold(world.stream)
    assert first == before, "folding on must not change what it started from"


@given(cases(failures=False, responses=False), SEEDS, SEEDS)
@settings(max_examples=150, deadline=None)
def test_the_order_of_independent_completions_does_not_change_the_outcome(case: Case, one: int, other: int) -> None:
    assert outcome(World(case, one).run_to_the_end()) == outcome(World(case, other).run_to_the_end())


@given(cases(), SEEDS)
@settings(max_examples=150, deadline=None)
def test_the_state_that_was_worked_on_is_the_state_that_the_log_gives(case: Case, seed: int) -> None:
    world = World(case, seed)
    assert world.run_to_the_end() == fold(world.stream)


@given(cases(failures=False, responses=False), SEEDS, st.sets(st.integers(1, 60), max_size=6))
@settings(max_examples=250, deadline=None)
def test_a_crash_after_any_event_leads_to_the_same_outcome(case: Case, seed: int, crashes: set[int]) -> None:
    undisturbed = World(case, seed).run_to_the_end()
    left = set(crashes)

    def crashes_here(world: World) -> bool:
        hit = {at for at in left if at <= len(world.stream)}
        left.difference_update(hit)
        return bool(hit)

    assert outcome(World(case, seed).run_to_the_end(crashes_here)) == outcome(undisturbed)


@given(cases(), SEEDS, st.sets(st.integers(1, 60), max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_block_whose_completion_is_in_the_log_runs_again(case: Case, seed: int, crashes: set[int]) -> None:
    left = set(crashes)

    def crashes_here(world: World) -> bool:
        hit = {at for at in left if at <= len(world.stream)}
        left.difference_update(hit)
        return bool(hit)

    world = World(case, seed)
    world.run_to_the_end(crashes_here)
    settled = [e.data.path for e in world.stream if isinstance(e.data, BlockCompleted | BlockFailed)]
    assert len(settled) == len(set(settled))
    iterations = [(e.data.path, e.data.index) for e in world.stream if isinstance(e.data, IterationCompleted)]
    assert len(iterations) == len(set(iterations))


@given(cases(), SEEDS)
@settings(max_examples=150, deadline=None)
def test_looking_at_the_neighbourhood_decides_the_same_as_looking_at_everything(case: Case, seed: int) -> None:
    world = World(case, seed)
    world.run_to_the_end()
    again = World(case, seed)
    step = again._step  # pyright: ignore[reportPrivateUsage]
    again._step = lambda settled: step(None)  # pyright: ignore[reportPrivateUsage, reportUnknownLambdaType]
    assert outcome(again.run_to_the_end()) == outcome(world.state)


@given(cases(), SEEDS)
@settings(max_examples=100, deadline=None)
def test_a_decision_repeated_decides_nothing(case: Case, seed: int) -> None:
    world = World(case, seed)
    world._step(None)  # pyright: ignore[reportPrivateUsage]
    again = advance(world.graph, world.state, world._moment(), None)  # pyright: ignore[reportPrivateUsage]
    assert again.events == []
    assert again.runs == []


@given(cases(responses=False), SEEDS)
@settings(max_examples=150, deadline=None)
def test_an_execution_fails_exactly_if_a_failure_has_no_error_edge(case: Case, seed: int) -> None:
    world = World(case, seed)
    state = world.run_to_the_end()
    unhandled = [
        path
        for path, block in state.blocks.items()
        if block.status is BlockStatus.FAILED and "[" not in path and not world.graph.node(path).handles_errors
    ]
    assert (state.status is ExecutionStatus.FAILED) == bool(unhandled)
