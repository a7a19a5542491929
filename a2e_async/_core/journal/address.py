"""Distinguishes a database address from the path of a journal file (pure).

An address mistaken for a path would become a local file with the password in its name, and every
host would start and pay for the same jobs by itself. So a text that looks like an address is
either accepted as one or refused. Errors never quote it, because it may contain a password.
"""

import re
from typing import Final

from a2e_async.errors import ConfigurationError

_LIBPQ_SETTING_NAMES: Final = (
    r"application_name|channel_binding|client_encoding|connect_timeout|(?:db|database)_?name|"
    r"database|fallback_application_name|gss\w+|host\w*|keepalives\w*|krbsrvname|"
    r"load_balance_hosts|options|pass\w*|port|pwd|replication|require_?\w+|server|service|"
    r"ssl\w+|target_session_attrs|tcp_user_timeout|uid|user(?:name)?"
)
_LIBPQ_SETTING: Final = re.compile(rf"(?i)(?:^|[\s;,'\"])(?:{_LIBPQ_SETTING_NAMES})\s*=")
"""A setting in libpq's keyword form, such as ``host=db dbname=a2e``, or in a similar form."""

_POSTGRES_SCHEME: Final = re.compile(r"(?i)(?:postgresql|postgres)://")
_URL_START: Final = re.compile(
    r"(?i)[a-z][a-z0-9+.\-]+:/|"
    r"(?:postgres|postgresql|pgsql|psql|pg|mysql|mariadb|sqlite|mssql|oracle|jdbc|odbc|redis)"
    r"[a-z0-9+.\-]*:"
)
"""The beginning of a URL, also with a single slash: `Path` collapses the two into one."""

_USERINFO: Final = re.compile(r"[^/\\\s]+:[^/\\\s]*@")
"""User and password of an address without a scheme."""

_PATH_START: Final = re.compile(r"[./~]|[A-Za-z]:[\\/]|\\")
"""A beginning that only a path has, whatever follows."""


def database_address(text: str) -> str | None:
    """Return the address of a PostgreSQL database for libpq; None for the path of a file.

    Raises `ConfigurationError` for a text that looks like an address but is not a usable one.
    """
    address = text.strip()
    if (scheme := _POSTGRES_SCHEME.match(address)) is not None:
        return f"postgresql://{address[scheme.end() :]}"
    if "://" in address or _URL_START.match(address):
        raise _invalid_address_error()
    if _PATH_START.match(address):
        return None
    if _USERINFO.match(address):
        raise _invalid_address_error()
    return address if _LIBPQ_SETTING.search(address) else None


def require_file_path(text: str) -> str:
    """Return ``text`` if it is the path of a file; raise `ConfigurationError` for an address."""
    try:
        is_file = database_address(text) is None
    except ConfigurationError:  # such as an address that `Path` has changed
        is_file = False
    if not is_file:
        raise ConfigurationError(
            "This journal must be a file on this machine, but the address of a database was given. "
            "Give the path of a file. A2E(journal=…) in Python takes PostgreSQL, too."
        )
    return text


def _invalid_address_error() -> ConfigurationError:
    return ConfigurationError(
        "journal must be the path of a file or the address of a PostgreSQL database: "
        "postgresql://user@host/database, or host=… dbname=…. The given value is neither."
    )
