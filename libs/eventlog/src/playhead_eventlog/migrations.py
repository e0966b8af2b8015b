"""The schema of the log, by numbered SQL files: expand first, contract later, each applied once."""

from importlib.resources import files

import psycopg
from psycopg import sql

from playhead_contracts.errors import Corrupt, Unavailable

_LOCK = 5058
"""Advisory lock held while migrating: two processes that migrate at once do it one after the other."""


class SchemaTooNew(Corrupt):
    """The database was migrated by a newer Playhead than this one."""

    def __init__(self, found: int, known: int):
        super().__init__(f"the database is at migration {found}, this Playhead knows {known}; upgrade Playhead")


def scripts() -> list[tuple[int, str, str]]:
    """Every migration in order: number, name, SQL."""
    folder = files("playhead_eventlog") / "sql"
    found = sorted((entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_", 1)[0]), name, text) for name, text in found]


async def migrate(owner_url: str, service_login: str | None = None) -> list[str]:
    """Bring the database to the newest schema, as its owner; returns the names of what was applied.

    Safe to run twice and from two processes at once. `service_login` is made a member of the services' role. Raises
    Unavailable when the database does not answer, SchemaTooNew when it is ahead of this code.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(owner_url)
    except psycopg.OperationalError as exc:
        raise Unavailable(f"the database does not answer: {exc}") from exc
    async with connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "create table if not exists public.playhead_migrations "
            "(number integer primary key, name text not null, applied_at timestamptz not null default now())"
        )
        rows = await (await connection.execute("select number from public.playhead_migrations")).fetchall()
        applied = {int(row[0]) for row in rows}
        known = scripts()
        if applied and max(applied) > known[-1][0]:
            raise SchemaTooNew(max(applied), known[-1][0])
        done: list[str] = []
        for number, name, text in known:
            if number in applied:
                continue
            await connection.execute(sql.SQL(text))  # pyright: ignore[reportArgumentType]
            await connection.execute(
                "insert into public.playhead_migrations (number, name) values (%s, %s)", (number, name)
            )
            done.append(name)
        if service_login is not None:
            await connection.execute(sql.SQL("grant playhead_service to {}").format(sql.Identifier(service_login)))
    return done


async def is_current(url: str) -> bool:
    """Whether the database holds every migration this code knows."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        exists = await (await connection.execute("select to_regclass('public.playhead_migrations')")).fetchone()
        if exists is None or exists[0] is None:
            return False
        row = await (await connection.execute("select max(number) from public.playhead_migrations")).fetchone()
        return row is not None and row[0] == scripts()[-1][0]
