"""The frame around a service: event loop, signals, logging, exit code."""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import uvloop

from playhead_contracts.errors import PlayheadError
from playhead_runtime.tracing import current_traceparent

log = logging.getLogger(__name__)

_NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """One line per thing that happened: time, level, logger, message, and the fields of `extra` as
    key=value; and the trace that it belongs to, if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = "".join(f" {name}={_shown(value)}" for name, value in vars(record).items() if name not in _NOT_FIELDS)
        if (traceparent := current_traceparent()) is not None:
            fields += f" trace_id={traceparent[3:35]}"
        line = f"{at.replace('+00:00', 'Z')} {record.levelname} {record.name} {record.getMessage()}{fields}"
        # Newlines are escaped, so that a traceback is one line, too.
        return line if record.exc_info is None else f"{line} error={_shown(self.formatException(record.exc_info))}"


def _shown(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else msgspec.json.encode(text).decode()


def set_up_logging(level: int | str = logging.INFO) -> None:
    """Log to stderr, one line each. Once per process."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # It logs whole URLs, which may hold secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def raise_file_limit() -> None:
    """Let this process open as many files as the system lets it.

    The usual soft limit is 1,024, which hundreds of executions with a connection each come close to.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_service(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `main` until it returns, and give the process's exit code: `sys.exit(run_service(main))`.

    SIGINT and SIGTERM set the event that `main` gets, and it stops in order; a second one ends the process
    at once. 0 means stopped as asked, 1 that it could not go on (logged).
    """
    set_up_logging(os.environ.get("PLAYHEAD_LOG_LEVEL", "INFO").upper())
    raise_file_limit()
    try:
        uvloop.run(_until_stopped(main))
    except PlayheadError as exc:
        # Its text is made for people: a bad setting, a server that is not there. A traceback would hide it.
        log.error("stopped by an error", extra={"kind": type(exc).__name__, "reason": str(exc)})
        return 1
    except Exception:
        log.exception("stopped by a bug")
        return 1
    return 0


async def _until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()

    def on_signal(sign: signal.Signals) -> None:
        if stop.is_set():
            log.warning("stopping at once", extra={"signal": sign.name})
            sys.stderr.flush()
            os._exit(128 + sign)
        log.info("stopping", extra={"signal": sign.name})
        stop.set()

    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, on_signal, sign)
    await main(stop)
