"""A private PostgreSQL server, from the binaries of this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.ports import free_port

MISSING = "no PostgreSQL programs on this machine; on Debian: apt-get install postgresql"


def programs() -> Path | None:
    """Return the directory of initdb and pg_ctl, None if there is none."""
    places = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if (found := shutil.which("pg_ctl")) is not None:
        places.append(Path(found).resolve().parent)
    fit = [place for place in places if (place / "initdb").exists()]
    return (
        max(fit, key=lambda place: [int(n) for n in place.parent.name.split(".") if n.isdigit()])
        if fit
        else None
    )


class Server:
    """A cluster in its own directory, on a free loopback port. ``durable``: with fsync."""

    def __init__(self, *, durable: bool = False) -> None:
        found = programs()
        if found is None:
            raise RuntimeError(MISSING)
        self._programs = found
        self._home = Path(tempfile.mkdtemp(prefix="a2e-postgres-"))
        self._data = self._home / "data"
        # initdb and postgres refuse root.
        self._user = "nobody" if os.name == "posix" and os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._home, self._user)
        self.port = free_port()
        self._options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
            f"-c fsync={'on' if durable else 'off'} -c max_connections=200"
        )
        self._schemas = 0

    def __enter__(self) -> "Server":
        self._run("initdb", "-D", self._data, "-U", "a2e", "-A", "trust", "-N", "-E", "UTF8")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home)

    def start(self) -> None:
        """Return once it accepts connections."""
        log = self._home / "log"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", self._options)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` acts like a crash, ``fast`` ends all transactions first."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def url(self) -> str:
        """Return the URL of an empty schema."""
        self._schemas += 1
        name = f"s{self._schemas}"
        url = f"postgresql://a2e:not-a-secret@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(f"CREATE SCHEMA {name}")
        return f"{url}?options=-csearch_path%3D{name}"

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self._programs / program, *map(str, arguments)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            group=None if self._user is None else "nogroup",
            extra_groups=None if self._user is None else [],
            cwd=self._home,
        )
