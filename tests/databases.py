"""Private PostgreSQL and MariaDB servers for one test session, on loopback ports."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymysql
import pytest

_START_TIMEOUT_S = 60


class PostgresServer:
    """Data lies in a folder of its own; `start` and `stop` may be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = _newest_binaries()
        # PostgreSQL refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.port = _free_port()
        if self._as:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._run(
            "initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-sync"
        )

    def url(self, database: str = "postgres") -> str:
        """For psycopg and SQLAlchemy alike."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """A new, empty database; its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def start(self) -> None:
        """Returns when the server takes connections."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c shared_buffers=16MB"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-o", options, "-l", log)

    def stop(self) -> None:
        """Drops every connection."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, str(self._bin / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def _newest_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise RuntimeError("these tests need PostgreSQL's server programs: apt install postgresql")
    return found[-1] if found else Path(str(on_path)).resolve().parent


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that is gone, with its data, at the end of the block."""
    # pytest's own temporary folders cannot be entered by another user.
    with tempfile.TemporaryDirectory(prefix="distilsql-pg-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the session. A test that stops it must start it again."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database for this test alone."""
    return postgres_server.create_database(f"test_{os.getpid()}_{abs(hash(request.node.nodeid))}")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@dataclass(frozen=True)
class MariaServer:
    """Where it listens; `url` has the password in it."""

    url: str
    password: str
    port: int


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A MariaDB server with one database `shop` and the user `tester`."""
    # It refuses to run as root too.
    account = "mysql" if os.geteuid() == 0 else None
    password, port = secrets.token_hex(8), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="distilsql-my-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        if account:
            shutil.chown(folder, account, account)
        data = folder / "data"
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            user=account,
            capture_output=True,
            timeout=180,
        )
        server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "mariadbd"
        process = subprocess.Popen(
            [
                server,
                "--no-defaults",
                f"--datadir={data}",
                f"--socket={folder / 'sock'}",
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--pid-file={folder / 'pid'}",
            ],
            user=account,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(folder / "sock"):
            assert time.monotonic() < deadline and process.poll() is None, "MariaDB does not start"
            time.sleep(0.1)
        db = pymysql.connect(unix_socket=str(folder / "sock"), user="root")
        with db, db.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
            cursor.execute(f"CREATE USER tester@'127.0.0.1' IDENTIFIED BY '{password}'")
            cursor.execute("GRANT ALL ON shop.* TO tester@'127.0.0.1'")
        yield MariaServer(f"mysql://tester:{password}@127.0.0.1:{port}/shop", password, port)
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
