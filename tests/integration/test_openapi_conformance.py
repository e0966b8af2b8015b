"""The gateway does what its OpenAPI document says, whatever it is sent: statuses, content types, bodies; and no 5xx."""

# Schemathesis leaves the parameters of its generic classes open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import ASKING, TWO_BLOCKS, gateway, publish
from tests.system import executor, hitl, projector

EXAMPLES = 8

Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


START, HERE = "POST /v1/workflows/{workflow_id}/executions", "POST /v1/executions/{execution_id}"
GOOD: list[tuple[str, int, Any]] = [
    (START, 200, {"input": {"amount": 1}}),
    (START, 202, {"input": {"amount": 1}, "mode": "async"}),
    (f"{HERE}/rerun", 200, {"from_block": "ask"}),
    (f"{HERE}/rerun", 200, {"from_block": "ask", "dry_run": True}),
    (f"{HERE}/rerun", 202, {"from_block": "ask", "mode": "async"}),
    (f"{HERE}/pauses/{{pause_id}}/resume", 200, {"input": {"approved": True}}),
    (f"{HERE}/approvals", 200, {"items": [{"pause_id": "x", "approved": True}]}),
]
"""Calls that do something, by their names in the document, with the status that they have."""


class Known(dict[str, str]):
    """Path parameters that lead to something, by name."""


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[tuple[str, Known]]:
    """A whole system with something in it: its address, and what there is."""
    url = database.service_url
    async with (
        executor(url, nats_url),
        hitl(url, nats_url),
        projector(url, nats_url),
        gateway(url, nats_url, sync_wait_seconds=0.2) as client,
    ):
        for document in (TWO_BLOCKS, ASKING):
            await publish(client, document)
        paused: dict[str, Any] = {}
        while paused.get("status") != "paused":
            paused = (await client.post("/v1/workflows/asking/executions", json={})).json()
        known = Known(
            workflow_id="two",
            version="1",
            execution_id=paused["execution_id"],
            pause_id=paused["pauses"][0]["pause_id"],
        )
        yield str(client.base_url), known


async def test_every_call_answers_as_it_is_documented(door: tuple[str, Known]) -> None:
    base_url, known = door
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{base_url}/schema/openapi.json")
    operations: list[Operation] = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 20
    # What ends executions comes last.
    operations.sort(key=lambda operation: operation.path.endswith(("/cancel", "/resume", "/approvals")))
    failures: list[str] = []
    by_name = {operation.label: operation for operation in operations}
    for name, status, body in GOOD:
        failures += await asyncio.to_thread(succeeded, by_name[name], status, body, base_url, known)
    for operation in operations:
        for mode in GenerationMode:
            failures += await asyncio.to_thread(tried, operation, mode, base_url, known)
    assert not failures, "\n\n".join(failures)


def succeeded(operation: Operation, status: int, body: Any, base_url: str, known: Known) -> list[str]:
    """Make a call that does something; what is not as documented."""
    names = [parameter.name for parameter in operation.path_parameters]
    case = operation.Case(
        path_parameters={name: known[name] for name in names}, body=body, media_type="application/json"
    )
    with requests.request(**case.as_transport_kwargs(base_url=base_url), timeout=20) as response:
        assert response.status_code == status, f"{operation.label} {body}: {response.status_code} {response.text}"
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            return [f"{operation.label} {body}\n{each}" for each in group.exceptions]
    return []


def tried(operation: Operation, mode: GenerationMode, base_url: str, known: Known) -> list[str]:
    """Make calls of one kind; what is not as documented."""
    failures: dict[str, str] = {}

    def run(case: AnyCase) -> None:
        try:
            check(case, base_url)
        except FailureGroup as group:
            for each in group.exceptions:
                text = f"{each}"
                failures.setdefault(text[:300], f"{operation.label}\n{case.as_curl_command()}\n{text}")

    names = [parameter.name for parameter in operation.path_parameters]
    try:
        for path_parameters in ({name: known[name] for name in names if name in known}, None):
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=path_parameters or None)
            hypothesis.seed(1)(SETTINGS(given(case=strategy)(run)))()
            if not names:
                break
    except Unsatisfiable:
        pass  # there is nothing that could be wrong about this call
    return list(failures.values())


def check(case: AnyCase, base_url: str) -> None:
    """Make a call and look at the answer. A stream may have no end: of one the head is enough."""
    request = case.as_transport_kwargs(base_url=base_url)
    with requests.request(**request, timeout=20, stream=True) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            assert response.status_code == 200
            return
        case.validate_response(response, checks=CHECKS)
