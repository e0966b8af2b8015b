"""The embedded servers: they keep what they acknowledged, end with their parent, and have one owner at a
time.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from playhead_runtime.embedded import AlreadyRunning, EmbeddedSettings, embedded_servers
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.embedded_postgres import PostgresServer
from playhead_runtime.server_process import ServerFailed

PARENT = """
import asyncio, signal, sys
from pathlib import Path
from playhead_runtime.embedded import embedded_servers

# Whatever started the tests may have had it ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with embedded_servers(Path(sys.argv[1])) as servers:
        print(servers.database_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def query(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]


async def test_both_servers_answer_with_their_own_passwords(data: Path) -> None:
    async with embedded_servers(data) as servers:
        assert query(servers.database_url, "select current_user") == "playhead"
        assert query(servers.owner_database_url, "select rolsuper from pg_roles where rolname = current_user")
        assert query(servers.database_url, "show fsync") == "on"
        wrong = servers.database_url.replace("playhead:", "playhead:not", 1)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(wrong, "select 1")
    assert (data / "servers.json").stat().st_mode & 0o777 == 0o600


async def test_a_second_start_on_the_same_data_says_who_holds_it(data: Path) -> None:
    async with embedded_servers(data):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()};"):
            async with embedded_servers(data):
                pass


async def test_ports_passwords_and_data_stay_over_a_restart(data: Path) -> None:
    async with embedded_servers(data) as first:
        with psycopg.connect(first.owner_database_url) as connection:
            connection.execute("create table kept as select 7 as number")
    async with embedded_servers(data) as second:
        assert second == first
        assert query(second.owner_database_url, "select number from kept") == 7


async def test_servers_end_with_a_killed_parent_and_the_next_start_finds_the_data(data: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(data)], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        url = parent.stdout.readline().decode().strip()
        kept = json.loads((data / "servers.json").read_text())
        assert query(url, "select 1") == 1
    finally:
        parent.kill()
        parent.communicate()
    # At once, while the old servers may still be on their way out.
    async with embedded_servers(data) as servers:
        assert query(servers.database_url, "select 1") == 1
    until(lambda: is_free(kept["nats_port"]) and is_free(kept["postgres_port"]))


async def test_ctrl_c_in_the_terminal_reaches_the_parent_alone(data: Path) -> None:
    async with embedded_servers(data):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert len(children) >= 2
        assert all(os.getpgid(int(child)) != os.getpgid(0) for child in children)


def test_postgres_survives_kill_9(data: Path) -> None:
    server = PostgresServer(data / "postgres")
    server.start()
    try:
        with psycopg.connect(server.url(owner=True)) as connection:
            connection.execute("create table kept as select 7 as number")
        server.kill()
        server.start()
        assert query(server.url(owner=True), "select number from kept") == 7
    finally:
        server.stop()


def test_postgres_starts_although_its_old_process_id_has_gone_to_another_program(data: Path) -> None:
    server = PostgresServer(data / "postgres")
    server.start()
    server.kill()
    stale = data / "postgres" / "postmaster.pid"
    stale.write_text("\n".join([str(os.getppid()), *stale.read_text().splitlines()[1:]]))
    server.start()
    server.stop()


def test_postgres_reaches_data_below_a_directory_that_is_closed_to_others(data: Path) -> None:
    closed = data / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed / "postgres")
    server.start()
    try:
        assert query(server.url(), "select 1") == 1
    finally:
        server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_postgres_is_reached_over_tcp_when_its_path_is_too_long_for_a_socket(data: Path) -> None:
    server = PostgresServer(data / ("long" * 25) / "postgres")
    server.start()
    try:
        assert "127.0.0.1" in server.url()
        assert query(server.url(), "select 1") == 1
    finally:
        server.stop()


def test_data_of_another_major_version_is_refused_with_advice(data: Path) -> None:
    server = PostgresServer(data / "postgres")
    server.prepare()
    (data / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerFailed, match=r"written by PostgreSQL 9.*pg_upgrade"):
        server.start()


def test_a_crash_while_the_cluster_is_made_leaves_nothing_half_made(data: Path) -> None:
    (data / "postgres.new").mkdir()
    (data / "postgres.new" / "PG_VERSION").write_text("half\n")
    server = PostgresServer(data / "postgres")
    server.start()
    server.stop()
    assert not (data / "postgres.new").exists()


async def test_missing_programs_are_named(data: Path) -> None:
    with pytest.raises(ServerFailed, match="check PLAYHEAD_NATS_BIN"):
        async with embedded_servers(data, EmbeddedSettings(nats_bin=Path("/nowhere"))):
            pass


def test_a_server_that_can_not_start_says_what_its_log_says(data: Path) -> None:
    server = PostgresServer(data / "postgres")
    server.prepare()
    (data / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(ServerFailed, match="could not find the database system"):
        server.start()


def test_a_port_that_somebody_has_taken_is_given_up_for_another(data: Path) -> None:
    first, second, third = NatsServer(data / "one"), NatsServer(data / "two"), PostgresServer(data / "postgres")
    first.start()
    second.port = third.port = first.port
    try:
        second.start()
        third.start()
        assert len({first.port, second.port, third.port}) == 3
        assert query(third.url(), "select 1") == 1
    finally:
        for server in (first, second, third):
            server.stop()


async def test_a_stop_by_signal_ends_the_servers_in_order(data: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(data), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()
    parent.send_signal(signal.SIGINT)
    await asyncio.wait_for(parent.wait(), 10)
    assert "database system is shut down" in (data / "postgres.log").read_text()
