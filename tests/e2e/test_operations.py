"""What operators do with a running system: check the log, look after dead letters and crashed services."""

import signal
from datetime import UTC, datetime, timedelta

import msgspec
import psutil
import psycopg

from playhead_cli.servers import Place, place_of
from playhead_contracts import subjects
from playhead_contracts.commands import Wake
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_runtime.bus import connect_bus
from tests.e2e.conftest import Home
from tests.system import eventually

TENANT = TenantId("default")
ASK = """
id: ask
blocks: {check: {type: human, message: "Go on?", form: {type: object, properties: {approved: {type: boolean}}}}}
output: {approved: "{{ blocks.check.answer.approved }}"}
"""


def servers(home: Home) -> Place:
    return place_of(home.folder / ".playhead")


async def ask(home: Home) -> tuple[ExecutionId, str]:
    """Run the workflow up to its question; the execution and the pause."""
    (home.folder / "ask.yaml").write_text(ASK)
    assert (await home.run("publish", "ask.yaml")).code == 0
    body = (await home.run("run", "ask", "--json")).json()
    assert body["status"] == "paused"
    return ExecutionId(body["execution_id"]), body["pauses"][0]["pause_id"]


async def event_types(home: Home, execution_id: ExecutionId) -> list[str]:
    printed = await home.run("events", execution_id, "--json")
    return [msgspec.json.decode(line)["type"] for line in printed.out.splitlines()]


async def test_verify_says_which_event_is_not_what_was_written(home: Home) -> None:
    await home.start_dev()
    execution_id, _ = await ask(home)
    assert (await home.run("checkpoints", "sign-now")).code == 0
    before = await home.run("verify", "--all", "--json")
    assert (before.code, before.json()["intact"]) == (0, True)
    assert before.json()["checkpoints"][0]["proof"]["unsigned"] == 0
    assert before.json()["bus"]["messages"] == before.json()["events"]
    done = (await home.run("audit", "--json")).json()["items"]
    assert [each["operation"] for each in done] == ["start", "publish"]
    with psycopg.connect(servers(home).owner_database_url) as forger:
        forger.execute("alter table log.events disable trigger events_are_immutable")
        forger.execute(
            "update log.events set data = replace(data, 'Go on?', 'Stop?') where type = 'pause.requested'",
        )
    version = (await event_types(home, execution_id)).index("pause.requested") + 1
    for words in (["verify"], ["verify", execution_id]):
        after = await home.run(*words)
        assert after.code == 1
        assert f"first broken at execution:{execution_id} version {version} " in after.out
    assert (await home.run("verify", "workflow:default:ask")).code == 0


async def test_an_export_is_the_log_byte_for_byte(home: Home) -> None:
    await home.start_dev()
    execution_id, _ = await ask(home)
    exported = await home.run("export", "--format", "jsonl")
    printed = await home.run("events", execution_id, "--json")
    lines = (await home.run("export", execution_id)).out.splitlines()
    assert set(lines) <= set(exported.out.splitlines())
    for line, event in zip(lines, printed.out.splitlines(), strict=True):
        assert line.startswith(f'{event[:-1]},"position":')
    unknown = await home.run("export", "--format", "csv")
    assert unknown.code == 2
    assert "ocel" in unknown.err


async def test_a_dead_letter_is_listed_with_its_error_and_sent_again_once(home: Home) -> None:
    await home.start_dev()
    execution_id, _ = await ask(home)
    lost = Wake(id="wake:lost", tenant=TENANT, execution_id=execution_id, failures=4)
    async with connect_bus(servers(home).nats_url, "test") as bus:
        headers = {"playhead-error": "KeyError: 'b'", "playhead-subject": subjects.execution_command(TENANT, "wake")}
        await bus.send(subjects.dead_letter(TENANT, "wake"), msgspec.json.encode(lost), "dlq:1", headers)
        await bus.send(subjects.dead_letter(TENANT, "unknown"), b"nonsense", "dlq:2", headers)
    listed = (await home.run("dlq", "list", "--json")).json()["items"]
    assert [(letter["number"], letter["error"]) for letter in listed] == [(1, "KeyError: 'b'"), (2, "KeyError: 'b'")]
    failed_at = datetime.fromisoformat(listed[0]["failed_at"])
    assert failed_at <= datetime.now(UTC) < failed_at + timedelta(minutes=5)
    undecided = await home.run("dlq", "redrive")
    assert undecided.code == 2

    sent = await home.run("dlq", "redrive", "1", "--json")
    assert sent.code == 0, sent.err
    assert sent.json()["sent"][0].startswith("wake:lost:redrive:")

    async def taken() -> bool:
        return "execution.resumed" in await event_types(home, execution_id)

    await eventually(taken)
    unreadable = await home.run("dlq", "redrive", "--all")
    assert unreadable.code == 1
    assert "dead letter 2 cannot be sent again" in unreadable.err
    assert [letter["number"] for letter in (await home.run("dlq", "list", "--json")).json()["items"]] == [2]


async def test_a_service_that_dies_is_started_again_and_the_others_go_on(home: Home) -> None:
    await home.start_dev()
    execution_id, pause_id = await ask(home)
    executor = next(
        child for child in psutil.Process(home.dev.pid).children() if "playhead_executor" in child.cmdline()
    )
    executor.send_signal(signal.SIGKILL)
    resumed = await home.run("resume", execution_id, pause_id, "--input", '{"approved": true}', "--json")
    assert resumed.json()["output"] == {"approved": True}, resumed.err
    said = (home.folder / "dev.log").read_text()
    assert said.count("executor has ended by itself") == 1


async def test_read_models_are_rebuilt_while_they_are_in_use(home: Home) -> None:
    await home.start_dev()
    execution_id, _ = await ask(home)
    rebuilt = await home.run("rebuild", "--json")
    assert rebuilt.code == 0, rebuilt.err
    assert rebuilt.json()["is_live"] is True
    assert [line["execution_id"] for line in (await home.run("runs", "--json")).json()["items"]] == [execution_id]
    assert (await home.run("rebuild", "nonsense")).code == 1


async def test_beyond_this_machine_a_key_is_needed_which_is_shown_once(home: Home) -> None:
    await home.start_dev("--host", "0.0.0.0")

    async def shown() -> str | None:
        words = (home.folder / "dev.log").read_text().split()
        return next((word for word in words if word.startswith("ph_")), None)

    key = await eventually(shown)
    refused = await home.run("runs")
    assert refused.code == 1
    assert "API key" in refused.err
    assert (await home.run("runs", key=key)).code == 0
    listed = (await home.run("keys", "list", "--json")).json()["items"]
    assert key not in str(listed)
    assert [each["name"] for each in listed] == ["dev"]
    await home.end()
    await home.start_dev("--host", "0.0.0.0")
    assert (await home.run("runs", key=key)).code == 0
    await home.end()
    assert (home.folder / "dev.log").read_text().count(key) == 1
