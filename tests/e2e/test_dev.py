"""The whole system in one command, used through the command line."""

import json
import signal

from tests.e2e.conftest import Home
from tests.system import eventually

HELLO = """
id: hello
input: {type: object, required: [name], properties: {name: {type: string}}}
blocks:
  greet: {type: function, code: "'Hello, ' + inputs['name']", inputs: {name: "{{ input.name }}"}, next: check}
  check:
    type: human
    message: "Send '{{ blocks.greet.result }}'?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: sent
  sent: {type: function, code: "inputs['text']", inputs: {text: "{{ blocks.greet.result }}"}}
output: {text: "{{ blocks.sent.result }}"}
"""


async def paused(home: Home) -> tuple[str, str]:
    """Publish and run the workflow; its execution and its pause."""
    (home.folder / "hello.yaml").write_text(HELLO)
    published = await home.run("publish", "hello.yaml")
    assert published.code == 0, published.err
    ran = await home.run("run", "hello", "--input", '{"name": "Ann"}', "--json")
    assert ran.code == 0, ran.err
    body = ran.json()
    assert body["status"] == "paused"
    return body["execution_id"], body["pauses"][0]["pause_id"]


async def test_a_workflow_runs_pauses_resumes_and_runs_again_from_a_block(home: Home) -> None:
    await home.start_dev()
    execution_id, pause_id = await paused(home)
    assert pause_id in (await home.run("pauses", "--json")).out
    resumed = await home.run("resume", execution_id, pause_id, "--input", '{"approved": true}', "--json")
    assert resumed.json()["output"] == {"text": "Hello, Ann"}
    events = await home.run("events", execution_id, "--json")
    types = [json.loads(line)["type"] for line in events.out.splitlines()]
    assert types[0] == "execution.created"
    assert types[-1] == "execution.completed"
    at_pause = types.index("execution.paused") + 1
    then = (await home.run("state", execution_id, "--version", str(at_pause), "--json")).json()
    assert then["status"] == "paused"
    plan = (await home.run("rerun", execution_id, "--from", "sent", "--dry-run", "--json")).json()
    assert plan["plan"]["reused"] == ["greet", "check"]
    fork = (await home.run("rerun", execution_id, "--from", "sent", "--json")).json()
    assert fork["status"] == "completed"
    compared = (await home.run("compare", execution_id, fork["execution_id"], "--json")).json()
    verdicts = {block["path"]: block["verdict"] for block in compared["blocks"]}
    assert verdicts == {"greet": "reused", "check": "reused", "sent": "same"}
    verified = await home.run("verify")
    assert verified.code == 0, verified.err


async def test_bad_input_is_told_in_sentences_and_exit_code_1(home: Home) -> None:
    await home.start_dev()
    (home.folder / "bad.yaml").write_text("id: bad\nblocks: {a: {type: functoin, code: '1', next: nowhere}}")
    refused = await home.run("publish", "bad.yaml")
    assert refused.code == 1
    for expected in ("#/blocks/a/type", "did you mean function?", "#/blocks/a/next"):
        assert expected in refused.err + refused.out
    assert "Traceback" not in refused.err
    unknown = await home.run("show", "01a1fbf6-ea1d-75b3-bd0f-89f26aa50780")
    assert unknown.code == 1
    assert "Traceback" not in unknown.err


async def test_ctrl_c_stops_everything_and_leaves_no_process(home: Home) -> None:
    await home.start_dev()
    assert home.left_behind()
    assert await home.signal_dev(signal.SIGINT) == 0
    assert home.left_behind() == []


async def test_a_second_dev_on_the_same_data_says_who_has_it(home: Home) -> None:
    await home.start_dev()
    second = await home.run("dev", "--port", str(home.port))
    assert second.code == 1
    assert f"in use by process {home.dev.pid}" in second.err


async def test_after_kill_9_nothing_is_left_and_the_next_start_goes_on_with_what_was_running(home: Home) -> None:
    await home.start_dev()
    execution_id, pause_id = await paused(home)
    await home.signal_dev(signal.SIGKILL)

    async def all_gone() -> bool:
        return home.left_behind() == []

    await eventually(all_gone)
    await home.start_dev()
    resumed = await home.run("resume", execution_id, pause_id, "--input", '{"approved": true}', "--json")
    assert resumed.json()["output"] == {"text": "Hello, Ann"}
