"""Whether a run may begin, decided before anything is recorded."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from playhead_contracts.errors import Conflict, Fault, InvalidInput, Refused
from playhead_contracts.events import ExecutionCancelRequested, ExecutionCreated, ForkSource, Json, Mode, Parent
from playhead_contracts.workflow import WorkflowDocument
from playhead_engine.schemas import faults_of
from playhead_engine.state import ExecutionState
from playhead_engine.variables import type_faults


class UnknownOutput(InvalidInput):
    problem, title = "unknown-output", "An output is asked for that the workflow does not have"


class InputDoesNotFit(InvalidInput):
    problem, title = "input-does-not-fit", "The input does not fit the workflow's schema"


class VariablesDoNotFit(InvalidInput):
    problem, title = "variables-do-not-fit", "The variables do not have the types that the workflow declares"


class KeyUsedDifferently(Refused):
    """Idempotency-Key: one key stands for one request (IETF draft-ietf-httpapi-idempotency-key-header, 2.7)."""

    problem, title, status = (
        "idempotency-key-reused",
        "This idempotency key came with another request before",
        422,
    )


class ExecutionHasEnded(Conflict):
    problem, title = "execution-ended", "The execution has already ended"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for when starting an execution."""

    input: Json = None
    mode: Mode = "sync"
    outputs: tuple[str, ...] | None = None
    variables: dict[str, Json] = {}
    timeout: timedelta | None = None
    max_concurrency: int | None = None

    def fingerprint(self, workflow_id: str, workflow_version: int | None) -> str:
        """Tells two requests with one idempotency key apart. The mode is how to listen, not what to run."""
        content: dict[str, Json] = {
            "workflow_id": workflow_id,
            "version": workflow_version,
            "input": self.input,
            "outputs": self.outputs,
            "variables": self.variables,
        }
        if self.timeout is not None:
            content["timeout_seconds"] = self.timeout.total_seconds()
        if self.max_concurrency is not None:
            content["max_concurrency"] = self.max_concurrency
        return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def admit(
    document: WorkflowDocument,
    version: int,
    digest: str,
    request: Request,
    at: datetime,
    parent: Parent | None = None,
    depth: int = 0,
) -> ExecutionCreated:
    """The fact that an execution begins at the moment `at`, as the child of `parent` if there is one.

    Raises InputDoesNotFit, VariablesDoNotFit or UnknownOutput; then nothing is recorded.
    """
    if document.input is not None and (faults := faults_of(document.input, request.input)):
        moved = tuple(
            Fault(pointer="#/input" + fault.pointer.removeprefix("#"), detail=fault.detail) for fault in faults
        )
        raise InputDoesNotFit(f"the input does not fit the schema of {document.id}", errors=moved)
    if faults := type_faults(document.variables, request.variables):
        raise VariablesDoNotFit(f"the variables do not have the types that {document.id} declares", errors=faults)
    check_outputs(document, request.outputs)
    timeout = min((each for each in (document.timeout, request.timeout) if each is not None), default=None)
    most = min((n for n in (document.max_concurrency, request.max_concurrency) if n is not None), default=None)
    return ExecutionCreated(
        workflow_id=document.id,  # pyright: ignore[reportArgumentType]
        workflow_version=version,
        digest=digest,
        input=request.input,
        variables={**document.variables, **request.variables},
        mode=request.mode,
        outputs=request.outputs,
        deadline=None if timeout is None else at + timeout,
        max_concurrency=most,
        parent=parent,
        depth=depth,
    )


def check_outputs(document: WorkflowDocument, outputs: Sequence[str] | None) -> None:
    """Raises UnknownOutput when a block is asked for that cannot give one."""
    faults = [
        Fault(
            pointer=f"#/outputs/{index}",
            detail=f"the workflow has no block {name!r}",
            hint=f"blocks: {', '.join(document.blocks)}",
        )
        for index, name in enumerate(outputs or ())
        if name not in document.blocks
    ]
    if faults:
        raise UnknownOutput(f"{document.id} does not have every output asked for", errors=faults)


def check_repeat(state: ExecutionState, fingerprint: str) -> None:
    """Whether an execution that an idempotency key already made is this very request. Raises KeyUsedDifferently."""
    if state.fingerprint != fingerprint:
        raise KeyUsedDifferently(
            "the same Idempotency-Key came with another request before; use a new key",
            facts={"execution_id": state.execution_id},
        )


def decide_cancel(state: ExecutionState, reason: str | None) -> list[ExecutionCancelRequested]:
    """What asking to cancel makes true: nothing if it was asked before. Raises ExecutionHasEnded."""
    if state.is_ended:
        raise ExecutionHasEnded(
            f"execution {state.execution_id} is {state.status}", facts={"execution_status": str(state.status)}
        )
    if state.stop is not None and state.stop.kind == "cancel":
        return []
    return [ExecutionCancelRequested(reason=reason)]


def forked(created: ExecutionCreated, source: ForkSource, plan: Json) -> ExecutionCreated:
    """The same beginning, as a fork of another execution."""
    return msgspec.structs.replace(created, source=source, plan=plan)
