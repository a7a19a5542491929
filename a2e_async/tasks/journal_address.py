"""Tells the address of a database from the path of a journal's file (pure).

A text that is meant for PostgreSQL and taken for a path would become a local file whose name
holds the password, and each host would pay for itself. So whatever looks like an address is
understood or refused, and never quoted in an error.
"""

import re
from typing import Final

from a2e_async.errors import ConfigurationError

_KEYWORDS: Final = (
    r"application_name|channel_binding|client_encoding|connect_timeout|(?:db|database)_?name|"
    r"database|fallback_application_name|gss\w+|host\w*|keepalives\w*|krbsrvname|"
    r"load_balance_hosts|options|pass\w*|port|pwd|replication|require_?\w+|server|service|"
    r"ssl\w+|target_session_attrs|tcp_user_timeout|uid|user(?:name)?"
)
_KEYWORD: Final = re.compile(rf"(?i)(?:^|[\s;,'\"])(?:{_KEYWORDS})\s*=")
"""A setting of libpq's keyword form, such as ``host=db dbname=a2e``, or of a similar one."""

_POSTGRES: Final = re.compile(r"(?i)(?:postgresql|postgres)://")
_SCHEME: Final = re.compile(
    r"(?i)[a-z][a-z0-9+.\-]+:/|"
    r"(?:postgres|postgresql|pgsql|psql|pg|mysql|mariadb|sqlite|mssql|oracle|jdbc|odbc|redis)"
    r"[a-z0-9+.\-]*:"
)
"""The beginning of a URL, also where a path has made one slash of its two."""

_USERINFO: Final = re.compile(r"[^/\\\s]+:[^/\\\s]*@")
"""User and password of an address without its scheme."""

_PATH: Final = re.compile(r"[./~]|[A-Za-z]:[\\/]|\\")
"""The beginning of what is a path, whatever follows."""


def database_address(text: str) -> str | None:
    """Return the address of a PostgreSQL database as libpq takes it; None for a file's path.

    Raises `ConfigurationError` for what looks like an address and is none that can be used.
    """
    said = text.strip()
    if (found := _POSTGRES.match(said)) is not None:
        return f"postgresql://{said[found.end() :]}"
    if "://" in said or _SCHEME.match(said):
        raise _refusal()
    if _PATH.match(said):
        return None
    if _USERINFO.match(said):
        raise _refusal()
    return said if _KEYWORD.search(said) else None


def file_path(text: str) -> str:
    """Return a text that is the path of a file; raise `ConfigurationError` for an address."""
    if database_address(text) is not None:
        raise ConfigurationError(
            "This journal must be a file on this machine, and the address of a database was given. "
            "A2E(journal=…) in Python takes both."
        )
    return text


def _refusal() -> ConfigurationError:
    return ConfigurationError(
        "journal must be a file's path, or the address of a PostgreSQL database: "
        "postgresql://user@host/database, or host=… dbname=…. What was given is neither."
    )
