"""Where blocks are run: the one place at which whatever goes wrong in a block becomes a fact about it."""

import logging
import traceback
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import msgspec

from playhead_contracts.events import BlockCompleted, BlockError, BlockFailed, Json
from playhead_contracts.ids import ExecutionId
from playhead_engine.graph import Node
from playhead_engine.scheduling.blocks import CannotBegin, Run, run_inputs
from playhead_engine.scheduling.instance_scope import Place
from playhead_engine.state import ExecutionState
from playhead_executor.blocks.contract import BlockCall, BlockFailure, BlockRunner, Outcome, Progress
from playhead_executor.journal import Result
from playhead_executor.secrets import Secrets, redacted
from playhead_executor.telling import Telling
from playhead_runtime.ids import derived_id

log = logging.getLogger("playhead.executor.blocks")


class Workshop:
    """The runners, by block type, and what every run has in common: secrets, limits, time taken, failures."""

    def __init__(self, runners: Mapping[str, BlockRunner], secrets: Secrets, max_output_bytes: int):
        self._runners = runners
        self._secrets = secrets
        self._max_output_bytes = max_output_bytes

    async def work(self, node: Node, run: Run, state: ExecutionState, progress: Progress) -> Result:
        """Run one block; whatever comes of it is its result. Only a cancel ends this with an exception."""
        began = perf_counter()
        outcome, error, secrets, telling = Outcome(None), None, None, None
        try:
            secrets = self._secrets.used_by(node)
            inputs = run.inputs
            if secrets is not None:
                inputs = run_inputs(node, Place(node.body, run.path.removesuffix(node.id)), state, secrets)
            telling = Telling(progress, secrets)
            outcome = await self._runner_of(node).run(_call(node, run, inputs, state.execution_id, telling))
            # Measured as it is recorded: a reference can be longer than the secret for which it stands.
            outcome = Outcome(redacted(outcome.outputs, secrets), outcome.decision)
            size = len(msgspec.json.encode(outcome.outputs))
            if size > self._max_output_bytes:
                raise BlockFailure(
                    BlockError(
                        type="output_too_large",
                        message=f"The outputs take {size} bytes; {self._max_output_bytes} are allowed"
                        " (max_output_bytes)",
                    )
                )
        except (BlockFailure, CannotBegin) as failure:
            error = failure.error
        except (TypeError, UnicodeEncodeError) as not_json:
            error = BlockError(type="output_not_json", message=f"The outputs are no JSON: {not_json}")
        except Exception as unexpected:  # noqa: BLE001 - the edge: whatever it is becomes the failure of the block
            facts = {"execution_id": state.execution_id, "path": run.path}
            log.error("block raised", extra={**facts, "raised": redacted(traceback.format_exc(), secrets)})
            error = BlockError(type="internal", message=f"{type(unexpected).__name__}: {unexpected}")
        duration_ms = round((perf_counter() - began) * 1000, 3)
        # A block without effects has no start of its own in the log, so its result tells when and with what it began.
        started_at, inputs = (None, None) if run.effects else (run.started_at, run.inputs)
        if error is not None:
            return BlockFailed(
                path=run.path,
                attempt=run.attempt,
                error=msgspec.convert(redacted(msgspec.to_builtins(error), secrets), BlockError),
                duration_ms=duration_ms,
                started_at=started_at,
                inputs=inputs,
            )
        return BlockCompleted(
            path=run.path,
            attempt=run.attempt,
            outputs=outcome.outputs,
            decision=outcome.decision,
            duration_ms=duration_ms,
            started_at=started_at,
            inputs=inputs,
            streamed=None if telling is None else telling.summary(),
        )

    def _runner_of(self, node: Node) -> BlockRunner:
        runner = self._runners.get(node.block.type)
        if runner is None:
            message = f"This executor has no package installed that brings the block type {node.block.type!r}"
            raise BlockFailure(BlockError(type="block_type_missing", message=message))
        return runner


def _call(node: Node, run: Run, inputs: dict[str, Json], execution_id: ExecutionId, progress: Progress) -> BlockCall:
    facts: dict[str, Any] = {"execution_id": execution_id, "path": run.path}
    return BlockCall(
        execution_id=execution_id,
        path=run.path,
        attempt=run.attempt,
        config=node.block,
        inputs=inputs,
        idempotency_key=derived_id(execution_id, run.path),
        started_at=run.started_at,
        log=logging.LoggerAdapter(log, facts),
        progress=progress,
    )
