"""An archiving that kills itself (SIGKILL) at a named point: `python -m tests.dying_archive`, with the point in
PLAYHEAD_DIE_AT, and the folder of the archive and the key in PLAYHEAD_ARCHIVE_URL and PLAYHEAD_SIGNING_KEY.
"""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playhead_cli import archiving
from playhead_eventlog.archive_files import ArchiveFiles
from playhead_eventlog.signing import SigningKey

POINTS = ("before the file", "after the file", "after the event", "after the first file was moved")


def arm(point: str) -> None:
    """Put death where it was asked for."""
    put, record = ArchiveFiles.put, archiving.record_operation  # pyright: ignore[reportPrivateImportUsage]
    put_before: list[str] = []

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_put(self: ArchiveFiles, name: str, source: Path) -> None:
        if point == "before the file":
            die()
        if point == "after the first file was moved" and put_before:
            die()
        put_before.append(name)
        put(self, name, source)
        if point == "after the file":
            die()

    async def dying_record(*given: Any, **named: Any) -> Any:
        head = await record(*given, **named)
        if point == "after the event":
            die()
        return head

    ArchiveFiles.put = dying_put
    archiving.record_operation = dying_record  # pyright: ignore[reportPrivateImportUsage]


async def main() -> None:
    place = archiving.Place(os.environ["PLAYHEAD_DATABASE_URL"], os.environ["PLAYHEAD_DATABASE_OWNER_URL"])
    order = archiving.Order(before=datetime.now(UTC))
    files = ArchiveFiles(os.environ["PLAYHEAD_ARCHIVE_URL"])
    await archiving.archive(order, place, files, SigningKey.read(os.environ["PLAYHEAD_SIGNING_KEY"]))


if __name__ == "__main__":
    archiving.EXECUTIONS_A_FILE = 4
    arm(os.environ["PLAYHEAD_DIE_AT"])
    asyncio.run(main())
