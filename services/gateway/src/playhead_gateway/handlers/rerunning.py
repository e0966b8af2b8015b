"""Running an execution again from some of its blocks, as a fork of it; or only saying what that would repeat."""

from hashlib import sha256

import msgspec

from playhead_contracts.events import EventData, ExecutionCreated, ForkSource, Mode
from playhead_engine import admission, rerun
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Rerun
from playhead_gateway.handlers.listening import Reply, StreamReply
from playhead_gateway.handlers.loading import definition_of, pages_of
from playhead_gateway.handlers.privacy import check_not_forgotten
from playhead_gateway.handlers.running import Wanted, run_and_answer
from playhead_gateway.handlers.starting import Asked, Begun, begin, execution_id_for, state_at_version
from playhead_gateway.services import Services
from playhead_runtime.spans import about


class PlanReply(msgspec.Struct, frozen=True):
    """The body of a dry run."""

    plan: rerun.Plan


class _Fork(msgspec.Struct, frozen=True):
    """A fork as it would begin."""

    source: rerun.History
    plan: rerun.Plan
    created: ExecutionCreated
    facts: list[EventData]


async def rerun_execution(
    services: Services, caller: Caller, execution_id: str, order: Rerun, asked: Asked
) -> Reply | StreamReply:
    """Run an execution again, as a new one, and answer as was asked for; or only say what that would repeat.

    Raises as `admit_rerun`.
    """
    begun = await admit_rerun(services, caller, execution_id, order, asked)
    if isinstance(begun, PlanReply):
        return Reply(body=begun)
    wanted = Wanted(asked.manner(order.mode), order.follow, order.cancel_on_disconnect, asked.left)
    return await run_and_answer(services, caller, begun.state, begun.created, wanted)


async def admit_rerun(
    services: Services, caller: Caller, execution_id: str, order: Rerun, asked: Asked
) -> Begun | PlanReply:
    """Put a fork into the log, or find the one that the idempotency key made before; or only the plan of a dry run.

    Raises RerunRefused, PlanChanged, VersionUnknown, ExecutionUnknown and what `admit_start` raises.
    """
    manner = asked.manner(order.mode)
    fork = await _forked(services, caller, execution_id, order, manner.mode)
    if order.plan_digest is not None and order.plan_digest != fork.plan.digest:
        raise rerun.PlanChanged(
            "since that plan was made, the definition or the execution has changed; look at the new plan",
            facts={"plan_digest": fork.plan.digest},
        )
    if order.dry_run:
        return PlanReply(fork.plan)
    source = fork.source.state
    fingerprint = None
    if asked.idempotency_key is not None:
        # Not of how to listen: that may differ from one try to the next.
        what = msgspec.structs.replace(order, mode=None, follow=False, cancel_on_disconnect=False)
        fingerprint = sha256(msgspec.json.encode((what, source.execution_id), order="sorted")).hexdigest()
    created = msgspec.structs.replace(fork.created, fingerprint=fingerprint)
    fork_id = execution_id_for(caller, asked, "rerun", source.execution_id)
    return await begin(services, caller, fork_id, [created, *fork.facts], asked, source)


async def _forked(services: Services, caller: Caller, execution_id: str, order: Rerun, mode: Mode) -> _Fork:
    source = await state_at_version(services, caller, execution_id, order.at_version)
    about(source)
    await check_not_forgotten(services, source.personal)
    before = await definition_of(services, source)
    definition = before
    if order.definition == "latest":
        definition = await services.definitions.latest(caller.tenant, source.workflow_id)
    variables = {} if order.variables is msgspec.UNSET else order.variables
    request = admission.Request(
        input=source.input if order.input is msgspec.UNSET else order.input,
        mode=mode,
        # A newer definition may not have every block that was asked for then.
        outputs=source.outputs_asked and tuple(o for o in source.outputs_asked if o in definition.document.blocks),
        variables={**source.initial_variables, **variables},
        max_concurrency=source.max_concurrency,
    )
    now = services.clock.now()
    created = admission.admit(definition.document, definition.version, definition.digest, request, now)
    wanted = rerun.RerunOrder(
        targets=order.targets,
        input=created.input,
        variables=created.variables,
        until_block=order.until_block,
        overrides=order.override,
        early_cutoff=order.early_cutoff,
    )
    history = rerun.History.of(source)
    if any("[" in target for target in order.targets):
        history = rerun.History()
        async for events, _ in pages_of(services, source.execution_id, source.version):
            history.add_all(events)
    is_other = definition.version != before.version
    plan = rerun.plan_rerun(
        definition.graph, history, wanted, before.document.blocks if is_other else None, definition.version
    )
    origin = ForkSource(execution_id=source.execution_id, version=source.version, from_block=plan.from_block)
    created = admission.forked(created, origin, msgspec.to_builtins(plan))
    created = msgspec.structs.replace(created, child_forks=rerun.child_forks(plan, history))
    if order.early_cutoff:
        created = msgspec.structs.replace(created, cutoff=rerun.cutoffs(definition.graph, plan, history))
    return _Fork(history, plan, created, rerun.fork_facts(definition.graph, plan, history, wanted, now))
