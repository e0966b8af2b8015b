"""Block types that packages bring, at a real executor: the example package, and blocks of the test's own."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead_blocks import BlockContext, BlockFailed, block
from playhead_contracts.commands import Chunk
from playhead_contracts.errors import InvalidDocument
from playhead_contracts.events import BlockError, BlockStepCompleted, Json
from playhead_contracts.workflow import CustomBlock
from playhead_engine.traits import BlockTraits
from playhead_executor.blocks.contract import BlockCall, BlockFailure
from playhead_executor.blocks.extension import ExtensionRunner
from playhead_runtime.extensions import custom_block_types
from tests.outside import OutsideServer
from tests.system import System, eventually
from tests.system import block as block_of

SHIP_ORDER = (Path(__file__).parents[2] / "examples" / "blocks-python" / "ship-order.yaml").read_text()
TRAITS = {
    kind: BlockTraits(effects=found.effects, config_schema=found.config_schema)
    for kind, found in custom_block_types().items()
}


def order(server: OutsideServer) -> dict[str, Json]:
    return {"warehouse": server.url, "order": "o-1", "items": ["book", "pen"]}


async def test_the_example_block_runs_its_steps_and_is_heard(system: System) -> None:
    await system.publish(SHIP_ORDER, TRAITS)
    async with OutsideServer() as server:
        heard = asyncio.Event()
        server.respond("/reserve", 200, {"id": "r-1"}, until=heard)
        server.respond("/ship", 200, {"tracking": "t-1"})
        execution_id = await system.start(SHIP_ORDER, order(server), custom=TRAITS)
        live = await system.live(execution_id)
        heard.set()
        state = await system.ended(execution_id)
    assert state.output == {"tracking": "t-1"}
    assert block_of(state, "ship").outputs == {"reservation": "r-1", "tracking": "t-1"}
    steps = [event.data for event in await system.events(execution_id) if isinstance(event.data, BlockStepCompleted)]
    assert [(step.name, step.outputs) for step in steps] == [("reserve", {"id": "r-1"}), ("ship", {"tracking": "t-1"})]
    async with asyncio.timeout(60):
        async for message in live:
            found = [frame for frame in message.data.split(b"\n") if b'"chunk":true' in frame]
            if found:
                assert msgspec.json.decode(found[0], type=Chunk).content == {"reserved": 2}
                break


async def test_a_step_that_was_finished_does_not_run_again_in_the_next_attempt(system: System) -> None:
    document = SHIP_ORDER.replace("backoff: 5s", "backoff: 10ms")
    await system.publish(document, TRAITS)
    async with OutsideServer() as server:
        server.respond("/reserve", 200, {"id": "r-1"})
        server.respond("/ship", 503)
        server.respond("/ship", 200, {"tracking": "t-1"})
        state = await system.ended(await system.start(document, order(server), custom=TRAITS))
        paths = [request.path for request in server.requests]
        keys = {request.headers["idempotency-key"] for request in server.requests}
    assert state.status == "completed"
    assert paths == ["/reserve", "/ship", "/ship"]
    assert len(keys) == 2, "each step has a key of its own, and keeps it"


async def test_what_a_block_says_of_its_failure_is_the_failure(system: System) -> None:
    await system.publish(SHIP_ORDER, TRAITS)
    async with OutsideServer() as server:
        server.respond("/reserve", 409, {"missing": ["pen"]})
        state = await system.ended(await system.start(SHIP_ORDER, order(server), custom=TRAITS))
    assert state.error == BlockError(
        type="out_of_stock", message="the warehouse has not got all of it", details={"missing": ["pen"]}
    )


async def test_a_config_that_does_not_fit_is_told_at_publish_and_at_the_latest_when_it_runs(system: System) -> None:
    constant = 'id: w\nblocks: {s: {type: ship-order, config: {warehouse: "http://x", order: 5, items: []}}}'
    with pytest.raises(InvalidDocument) as refused:
        await system.publish(constant, TRAITS)
    assert {fault.pointer for fault in refused.value.errors} == {
        "#/blocks/s/config/order",
        "#/blocks/s/config/items",
    }
    await system.publish(SHIP_ORDER, TRAITS)
    state = await system.ended(
        await system.start(SHIP_ORDER, {"warehouse": "x", "order": "o", "items": []}, custom=TRAITS)
    )
    assert state.error is not None
    assert (state.error.type, "$.items" in state.error.message) == ("config_invalid", True)


class Steps:
    """What the executor does for a block, over a list."""

    def __init__(self, **steps: Json):
        self._steps = dict(steps)
        self.told: list[Json] = []

    @property
    def steps(self) -> Mapping[str, Json]:
        return self._steps

    async def step_completed(self, name: str, outputs: Json) -> None:
        self._steps[name] = outputs

    async def chunk(self, content: Json) -> None:
        self.told.append(content)


def called(progress: Steps | None = None, timeout: timedelta | None = None) -> BlockCall:
    return BlockCall(
        execution_id="execution-1",
        path="mine",
        attempt=1,
        config=CustomBlock(type="mine", timeout=timeout),
        inputs={},
        idempotency_key="key",
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        log=logging.LoggerAdapter(logging.getLogger(__name__)),
        progress=progress or Steps(),
    )


async def failure(runner: ExtensionRunner, call: BlockCall) -> BlockError:
    with pytest.raises(BlockFailure) as caught:
        await runner.run(call)
    return caught.value.error


async def test_a_recorded_step_gives_its_result_without_running() -> None:
    ran: list[str] = []

    async def mine(config: dict[str, Any], context: BlockContext) -> Json:
        first = await context.step("first", lambda: ran.append("first"))
        second = await context.step("second", lambda: {"n": len(ran)})
        return [first, second]

    outcome = await ExtensionRunner(block()(mine)).run(called(Steps(first="recorded")))
    assert outcome.outputs == ["recorded", {"n": 0}]


async def test_a_name_is_for_one_step_of_a_block() -> None:
    async def mine(config: dict[str, Any], context: BlockContext) -> None:
        await context.step("twice", lambda: 1)
        await context.step("twice", lambda: 2)

    error = await failure(ExtensionRunner(block()(mine)), called())
    assert (error.type, "'twice'" in error.message) == ("raised", True)


async def test_a_block_that_is_silent_for_too_long_is_ended_and_may_clean_up() -> None:
    cleaned: list[bool] = []

    async def mine(config: dict[str, Any], context: BlockContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    error = await failure(ExtensionRunner(block(heartbeat=timedelta(seconds=0.05))(mine)), called())
    assert (error.type, error.retryable, cleaned) == ("heartbeat_lost", True, [True])


async def test_a_block_that_takes_longer_than_its_timeout_is_ended() -> None:
    async def mine(config: dict[str, Any], context: BlockContext) -> None:
        await asyncio.Event().wait()

    error = await failure(ExtensionRunner(block()(mine)), called(timeout=timedelta(seconds=0.05)))
    assert (error.type, error.retryable) == ("timeout", True)


async def test_whatever_else_a_block_raises_is_a_failure_that_says_where() -> None:
    async def mine(config: dict[str, Any], context: BlockContext) -> None:
        raise KeyError("nowhere")

    error = await failure(ExtensionRunner(block()(mine)), called())
    assert (error.type, error.message, error.retryable) == ("raised", "KeyError: 'nowhere'", False)
    assert any("test_python_blocks.py" in place for place in error.details["at"])


async def test_a_block_says_how_long_to_wait() -> None:
    async def mine(config: dict[str, Any], context: BlockContext) -> None:
        raise BlockFailed("busy", "later", retryable=True, retry_after_seconds=7)

    error = await failure(ExtensionRunner(block()(mine)), called())
    assert (error.type, error.retryable, error.retry_after_seconds) == ("busy", True, 7)


async def test_a_result_that_is_no_json_is_a_failure() -> None:
    async def mine(config: dict[str, Any], context: BlockContext) -> object:
        return object()

    assert (await failure(ExtensionRunner(block()(mine)), called())).type == "output_not_json"


async def test_cancelling_ends_a_block_in_flight(system: System) -> None:
    await system.publish(SHIP_ORDER, TRAITS)
    async with OutsideServer() as server:
        server.respond("/reserve", 200, {}, until=asyncio.Event())
        execution_id = await system.start(SHIP_ORDER, order(server), custom=TRAITS)

        async def asked() -> bool:
            return bool(server.requests)

        await eventually(asked)
        await system.cancel(execution_id)
        state = await system.ended(execution_id)
    assert (state.status, block_of(state, "ship").status) == ("cancelled", "failed")
