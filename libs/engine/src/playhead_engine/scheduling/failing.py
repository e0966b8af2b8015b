"""What becomes of a failed attempt: another one, later, or the failure of its block."""

from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from playhead_contracts.base_blocks import Retry
from playhead_contracts.events import BlockError, BlockFailed, BlockRetryScheduled
from playhead_engine.graph import Node
from playhead_engine.state import ExecutionState, scope_of_path


def judge(node: Node, state: ExecutionState, failed: BlockFailed, at: datetime) -> BlockFailed | BlockRetryScheduled:
    """The fact that a failure is: with who handles it, or with when the block is tried again."""
    retry = node.block.retries
    if retry is not None and not _is_stopped(state, failed):
        before = state.blocks.get(failed.path)
        retries = before.retries if before else 0
        if retries + 1 < retry.attempts and _is_retried(retry, failed.error):
            return BlockRetryScheduled(
                path=failed.path,
                attempt=failed.attempt,
                error=failed.error,
                due_at=at + _pause(retry, retries, failed, state.execution_id),
                duration_ms=failed.duration_ms,
                started_at=failed.started_at,
                inputs=failed.inputs,
                child=failed.child,
            )
    return msgspec.structs.replace(
        failed,
        handled=node.handles_errors,
        continues=node.block.continues_on_error,
        contained=node.is_contained and not node.handles_errors,
    )


def _is_stopped(state: ExecutionState, failed: BlockFailed) -> bool:
    iteration = state.iterations.get(scope_of_path(failed.path))
    return state.stop is not None or (iteration is not None and iteration.failed is not None)


def _is_retried(retry: Retry, error: BlockError) -> bool:
    return error.retryable if retry.errors is None else error.type in retry.errors


def _pause(retry: Retry, retries: int, failed: BlockFailed, execution_id: str) -> timedelta:
    """How long to wait. The core has no randomness: the jitter follows from what is tried again."""
    factor = 1.0 if retry.strategy == "constant" else retry.factor
    longest = retry.max_backoff.total_seconds()
    # The exponent is bounded, so that a large one is the cap and not an overflow.
    seconds = min(retry.backoff.total_seconds() * factor ** min(retries, 60), longest)
    drawn = sha256(f"{execution_id} {failed.path} {failed.attempt}".encode()).digest()
    seconds *= 1 - retry.jitter * int.from_bytes(drawn[:4]) / 2**32
    asked = failed.error.retry_after_seconds or 0.0
    return timedelta(seconds=max(seconds, asked))
