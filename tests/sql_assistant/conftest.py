"""Private, throw-away database servers on loopback, and the fixture statements."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"
START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Server:
    """Where a private server listens; `url` has the password in it."""

    url: str
    password: str
    port: int


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account(name: str) -> str | None:
    """Database servers refuse to run as root: the account to run them under then."""
    return name if os.geteuid() == 0 else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with one database `shop` and the user `tester`."""
    account, password, port = _account("postgres"), secrets.token_hex(8), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="distilsql-pg-"))  # pytest's own folders are closed to others
    try:
        if account:
            shutil.chown(folder, account, account)
        data = folder / "data"
        secret = folder / "password"
        secret.write_text(password)
        if account:
            shutil.chown(secret, account)

        def run(*command: str) -> None:
            subprocess.run(command, check=True, user=account, cwd=folder, capture_output=True, timeout=120)

        options = ["-U", "tester", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8"]
        run("initdb", "-D", str(data), *options)
        listen = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        how = ["-w", "-t", str(START_TIMEOUT_S), "-l", str(folder / "log"), "-o", f"{listen} -c fsync=off"]
        run("pg_ctl", "-D", str(data), *how, "start")
        try:
            import psycopg

            admin = f"postgresql://tester:{password}@127.0.0.1:{port}"
            with psycopg.connect(f"{admin}/postgres", autocommit=True) as db:
                db.execute("CREATE DATABASE shop")
            yield Server(f"{admin}/shop", password, port)
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server with one database `shop` and the user `tester`."""
    import pymysql

    account, password, port = _account("mysql"), secrets.token_hex(8), _free_port()
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
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                db = pymysql.connect(unix_socket=str(folder / "sock"), user="root")
                break
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        with db, db.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
            cursor.execute(f"CREATE USER tester@'127.0.0.1' IDENTIFIED BY '{password}'")
            cursor.execute("GRANT ALL ON shop.* TO tester@'127.0.0.1'")
        yield Server(f"mysql://tester:{password}@127.0.0.1:{port}/shop", password, port)
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
