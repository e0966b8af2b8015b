"""One server program as a child of ours: it ends with us, and never runs twice on the same data.

- It gets a signal when we are gone, however we went (Linux: PDEATHSIG).
- It has a session of its own, so that Ctrl-C in the terminal reaches us alone and we stop it in order.
- It holds a lock file open. The lock is free when the program and all of its own children have ended, so a
start right
  after a kill waits for the last of them, without asking who lives: process ids are used again, locks are
  not.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from playhead_contracts.errors import PlayheadError

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.01
_LOCK_SECONDS = 30.0


class ServerFailed(PlayheadError):
    """An embedded server did not start, or does not end. The text holds the last lines of its log."""


class Account:
    """A user of this machine that a server is run as."""

    def __init__(self, uid: int, gid: int):
        self.uid = uid
        self.gid = gid


class ServerProcess:
    """Start, stop and kill one server program. Start it in a thread that lives as long as it shall."""

    def __init__(self, name: str, log: Path, lock: Path):
        self._name = name
        self._log = log
        self._lock = lock
        self._log_begins = 0
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        ends_by: signal.Signals,
        account: Account | None = None,
        keep_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        """Start the program; it gets `ends_by` when we are gone. Raises ServerFailed if another one holds
        the lock.
        """
        self._log_begins = self._log.stat().st_size if self._log.exists() else 0
        lock = self._take_lock()
        try:
            with self._log.open("ab") as log:
                # This thread's end is what PDEATHSIG reacts to, not only the process's.
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=env,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                    pass_fds=(lock, *keep_fds),
                    start_new_session=True,
                    preexec_fn=_end_with_parent(ends_by),
                )
        finally:
            os.close(lock)

    def wait_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Return when `is_ready` says so. Raises ServerFailed when the program ends before, or takes too
        long.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if not self.is_running:
                raise ServerFailed(f"{self._name} did not start; its log says:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self._name} is not ready after {timeout_seconds:g} s; its log says:\n{self.log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal in turn, and give the program that many seconds to end after it; at last kill
        it.
        """
        for sign, seconds in steps:
            if not self.is_running:
                break
            self.signal(sign)
            if self._ends_within(seconds):
                break
        self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal to the program, if it runs."""
        if self._child is not None:
            self._child.send_signal(sign)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log since the last start."""
        with self._log.open("rb") as log:
            log.seek(self._log_begins)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _ends_within(self, seconds: float) -> bool:
        assert self._child is not None
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _take_lock(self) -> int:
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise ServerFailed(
                        f"another {self._name} still runs on this data (it holds {self._lock})"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return lock


def _end_with_parent(sign: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sign))
        # Gone between fork and prctl: nobody would tell us any more.
        if os.getppid() != parent:
            os._exit(1)

    return in_child
