"""Forgetting a person: the key with which their values were sealed is destroyed, and nobody can read them any more.

Recorded first, done then. Whatever is killed in between, asking again finds the key still there, recognises the record
by its id, and goes on; when the key is gone, there is nothing left to do.
"""

from typing import Annotated

import msgspec

from playhead_contracts.errors import Conflict
from playhead_contracts.events import SubjectForgotten
from playhead_contracts.ids import EventId, ExecutionId, execution_stream
from playhead_engine.admission import ExecutionHasEnded
from playhead_engine.privacy import LONGEST_SUBJECT
from playhead_eventlog.operations import record_operation
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Body
from playhead_gateway.follow import TERMINAL_TYPES
from playhead_gateway.handlers.cancelling import cancel_execution
from playhead_gateway.services import Services
from playhead_runtime.ids import derived_id

_TOLD = 10


class StillRunning(Conflict):
    problem, title = "subject-in-use", "Executions of this person have not ended"

    def __init__(self, open_executions: list[ExecutionId]):
        count = len(open_executions)
        which = ", ".join(open_executions[:_TOLD]) + (", ..." if count > _TOLD else "")
        super().__init__(
            f"not ended, and would lose what they read: {which}; cancel them first (`cancel`), or let them (`force`)",
            facts={"count": count, "executions": open_executions[:_TOLD]},
        )


class ForgetSubject(Body, frozen=True, kw_only=True):
    """Whom to forget. Their executions that have not ended are cancelled (`cancel`), or left to lose what they read
    (`force`); without either, there must be none.
    """

    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_SUBJECT, pattern=r"^[^\x00]+$")]
    cancel: bool = False
    force: bool = False


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What was forgotten. No keys: there is nothing sealed of this person, or it was forgotten before."""

    key_ids: list[str]
    executions: int
    """In how many executions there was something of this person."""
    cancelled: list[ExecutionId]


async def forget_subject(services: Services, caller: Caller, order: ForgetSubject) -> Forgotten:
    """Destroy the key of a person of the caller's tenant. Raises StillRunning and LogUnavailable."""
    vault = services.log.vault
    key_id = await vault.find(caller.tenant, order.subject)
    if key_id is None:
        return Forgotten(key_ids=[], executions=0, cancelled=[])
    executions = await vault.executions(caller.tenant, key_id)
    open_executions = [execution_id for execution_id in executions if await _is_open(services, execution_id)]
    if open_executions and not (order.cancel or order.force):
        raise StillRunning(open_executions)
    cancelled: list[ExecutionId] = []
    for execution_id in open_executions if order.cancel else ():
        try:
            await cancel_execution(services, caller, execution_id, "what it works on is to be forgotten")
            cancelled.append(execution_id)
        except ExecutionHasEnded:
            continue
    fact = SubjectForgotten(key_ids=(key_id,), executions=len(executions))
    event_id = EventId(derived_id(fact.type_name(), caller.tenant, key_id))
    await record_operation(services.log, caller.tenant, fact, caller.actor, event_id=event_id, at=services.clock.now())
    await vault.destroy(caller.tenant, order.subject, key_id)
    return Forgotten(key_ids=[key_id], executions=len(executions), cancelled=cancelled)


async def _is_open(services: Services, execution_id: ExecutionId) -> bool:
    newest = await services.log.newest(execution_stream(execution_id))
    return newest is not None and newest.type not in TERMINAL_TYPES
