"""Values about people: whose an execution's are when it begins, and showing what read models hold sealed."""

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import msgspec

from playhead_contracts.events import ExecutionCreated, Json, Personal
from playhead_contracts.ids import ExecutionId, TenantId, execution_stream
from playhead_engine.privacy import AnotherSubject, ValuesForgotten, personal_of, subject_of
from playhead_engine.state import ExecutionState
from playhead_eventlog import may_hold_sealed, read_sealed
from playhead_gateway.services import Services

Row = TypeVar("Row", bound=msgspec.Struct)


async def with_personal(
    services: Services, tenant: TenantId, created: ExecutionCreated, source: ExecutionState | None
) -> ExecutionCreated:
    """The beginning of an execution, which says what of it is sealed, and with whose key; that is made if need be.

    A fork goes on with the key of its `source`. Raises SubjectUnknown, AnotherSubject, ValuesForgotten, LogUnavailable.
    """
    definition = await services.definitions.version(tenant, created.workflow_id, created.workflow_version)
    graph, before = definition.graph, None if source is None else source.personal
    subject = subject_of(graph, created)
    if before is not None:
        await check_not_forgotten(services, before)
        if subject is not None and await services.log.vault.find(tenant, subject) != before.key_id:
            raise AnotherSubject
        key_id = before.key_id
    elif subject is not None:
        key_id = await services.log.vault.key_for(tenant, subject)
    else:
        return created
    return msgspec.structs.replace(created, personal=personal_of(graph, key_id, before))


async def check_not_forgotten(services: Services, personal: Personal | None) -> None:
    """Raises ValuesForgotten when what an execution was given can no longer be read."""
    if personal is not None and not await services.log.vault.exists(personal.key_id):
        raise ValuesForgotten


async def opened_rows(
    services: Services, tenant: TenantId, rows: Sequence[Row], executions: Sequence[str]
) -> list[Row]:
    """Rows of read models, of these executions, with their sealed values open.

    A value is only opened with the key of its own execution: whoever puts the sealed form of another into an input
    gets it back as it is. Raises LogUnavailable.
    """
    shown: list[Row] = []
    keys: dict[str, str | None] = {}
    for row, execution_id in zip(rows, executions, strict=True):
        fields = {name: value for name, value in msgspec.structs.asdict(row).items() if _may_be_sealed(value)}
        if fields and execution_id not in keys:
            keys[execution_id] = await services.log.key_of(execution_stream(ExecutionId(execution_id)))
        key_id = keys.get(execution_id) if fields else None
        if key_id is not None:
            row = msgspec.structs.replace(row, **await _opened(services, tenant, fields, key_id))
        shown.append(row)
    return shown


def _may_be_sealed(value: object) -> bool:
    if isinstance(value, msgspec.Raw):
        return may_hold_sealed(bytes(value))
    return isinstance(value, str) and read_sealed(value) is not None


async def _opened(services: Services, tenant: TenantId, fields: Mapping[str, object], key_id: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in fields.items():
        plain = cast("Json", msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value)
        opened = await services.log.opened(plain, tenant, [key_id])
        found[name] = msgspec.Raw(msgspec.json.encode(opened)) if isinstance(value, msgspec.Raw) else opened
    return found
