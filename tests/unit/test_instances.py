"""Every instance that ever was, from the events alone."""

from hypothesis import given
from hypothesis import strategies as st

from playhead_contracts.events import BlockCompleted, BlockStarted, ContainerStart, ExecutionStarted, IterationCompleted
from playhead_contracts.ids import BlockPath
from playhead_engine.instances import Instances
from playhead_engine.state import KEPT_INSTANCES
from tests.unit.graphs import Case, World, cases, recorded


@given(cases(max_blocks=5), st.integers(0, 1000))
def test_the_instances_are_those_of_the_state_in_the_order_in_which_they_appeared(case: Case, seed: int) -> None:
    world = World(case, seed)
    state = world.run_to_the_end(after_append=lambda world: world.random.random() < 0.05, limit=5000)
    instances = Instances()
    for event in world.stream:
        instances.add(event)
    assert instances.state == world.state
    assert {path: instance.block for path, instance in instances.found.items()} == state.blocks
    ordinals = [instance.ordinal for instance in instances.found.values()]
    assert ordinals == sorted(set(ordinals))


def test_instances_that_the_state_has_forgotten_are_there() -> None:
    count = KEPT_INSTANCES + 50
    each = BlockPath("each")
    facts = [
        World(Case({"id": "w", "blocks": {"a": {"type": "act"}}}, frozenset())).stream[0].data,
        ExecutionStarted(executor="a", epoch=1, command="run"),
        BlockStarted(path=each, container=ContainerStart(kind="loop", count=count)),
    ]
    for index in range(count):
        path = BlockPath(f"each[{index}]/a")
        facts += [BlockCompleted(path=path, outputs=index, inputs={}), IterationCompleted(path=each, index=index)]
    instances = Instances()
    for version, fact in enumerate(facts, 1):
        instances.add(recorded(fact, version))
    assert instances.state is not None
    assert instances.state.forgotten == 50
    assert len(instances.found) == count + 1
    assert instances.found[BlockPath("each[0]/a")].block.outputs == 0
