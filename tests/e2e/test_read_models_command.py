"""`playhead rebuild` and `playhead verify --read-models`, as operators type them."""

import psycopg

from playhead_cli.servers import place_of
from tests.e2e.conftest import Home

DOUBLE = """
id: double
blocks: {twice: {type: function, code: "inputs['n'] * 2", inputs: {n: "{{ input.n }}"}}}
output: {n: "{{ blocks.twice.result }}"}
"""


async def position(home: Home) -> int:
    """Up to where the read models have come, now that they hold every execution that was started."""
    listed = (await home.run("rebuild", "--list", "--json")).json()["items"]
    return max(listed[0]["positions"].values())


async def run_double(home: Home, times: int) -> None:
    for n in range(times):
        ran = await home.run("run", "double", "--input", f'{{"n": {n}}}', "--json")
        assert ran.json()["output"] == {"n": n * 2}, ran.err
    caught_up = await home.run("rebuild", "--json")
    assert caught_up.code == 0, caught_up.err


async def test_read_models_as_they_were_are_listed_compared_promoted_and_dropped(home: Home) -> None:
    await home.start_dev()
    (home.folder / "double.yaml").write_text(DOUBLE)
    assert (await home.run("publish", "double.yaml")).code == 0
    await run_double(home, 2)
    then = await position(home)
    await run_double(home, 1)

    built = await home.run("rebuild", "--to", str(then), "--name", "then")
    assert built.code == 0, built.err
    assert "set then, beside the live ones" in built.out
    assert (await home.run("rebuild", "--to", str(then), "--json")).json()["set"] == str(then)
    listed = await home.run("rebuild", "--list")
    assert [line.split()[:3] for line in listed.out.splitlines()[2:]] == [
        [str(then), "whole", str(then)],
        ["then", "whole", str(then)],
    ]

    same = await home.run("rebuild", "--compare", "then", str(then))
    assert same.out.startswith("same: ")
    differs = await home.run("rebuild", "--compare", "then", "live")
    assert "executions: 1 only in live" in differs.out
    counted = {each["table"]: each["only_in_b"] for each in (await compared(home))["tables"]}
    assert counted["executions"] == 1

    promoted = await home.run("rebuild", "--promote", "then", "--json")
    assert promoted.json()["is_live"] is True, promoted.err
    assert len((await home.run("runs", "--json")).json()["items"]) == 3
    assert (await home.run("rebuild", "--abort", str(then))).code == 0
    assert [each["name"] for each in (await home.run("rebuild", "--list", "--json")).json()["items"]] == ["live"]

    for wrong in (
        ["--to", "yesterday"],
        ["--list", "--to", "1"],
        ["--name", "x"],
        ["--abort", "nobody"],
        ["--promote", "nobody"],
        ["--to", "1000000"],
        ["--compare", "live", "nobody"],
    ):
        refused = await home.run("rebuild", *wrong)
        assert refused.code in (1, 2)
        assert refused.err.startswith("error: "), refused.err


async def compared(home: Home) -> dict[str, list[dict[str, object]]]:
    return (await home.run("rebuild", "--compare", "then", "live", "--json")).json()


async def test_verify_says_which_row_of_the_read_models_is_not_what_the_log_says(home: Home) -> None:
    await home.start_dev()
    (home.folder / "double.yaml").write_text(DOUBLE)
    assert (await home.run("publish", "double.yaml")).code == 0
    await run_double(home, 1)
    intact = await home.run("verify", "--read-models")
    assert intact.code == 0, intact.err
    assert intact.out.startswith("intact: 6 read models")
    with psycopg.connect(place_of(home.folder / ".playhead").owner_database_url) as forger:
        forger.execute("update read.executions set status = 'failed'")
    found = await home.run("verify", "--read-models")
    assert found.code == 1
    [execution] = (await home.run("runs", "--json")).json()["items"]
    assert f"execution_id={execution['execution_id']} status: 'failed' → 'completed'" in found.out
    report = (await home.run("verify", "--read-models", "--json")).json()
    assert (report["intact"], report["tables"][0]["table"]) == (False, "executions")
    assert (await home.run("verify", "--read-models", "workflow:default:double")).code == 2
