"""Names of journal owners. On Linux a name shows whether its process is still alive.

With the lease alone, the entries of a killed process would be locked until it expires (30 s). For
owners in the same boot and process namespace the process id is checked; for all others only the
lease counts.
"""

import hashlib
import os
from functools import cache
from pathlib import Path
from uuid import uuid4


@cache
def _process_namespace() -> str:
    """Return an id of this boot and process namespace, "" if unknown.

    A process id alone is not enough: other containers and earlier boots reuse the same numbers.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # the link's text is the id
    except OSError:
        return ""
    return hashlib.sha256(boot_id + namespace.encode()).hexdigest()[:16]


def new_owner_name() -> str:
    """Return a new unique owner name for this process."""
    return f"{_process_namespace()}.{os.getpid()}.{uuid4().hex}"


def is_owner_dead(owner: str) -> bool:
    """Whether an owner's process has certainly ended. False if unknown."""
    scope, _, rest = owner.partition(".")
    pid = rest.partition(".")[0]
    if not scope or scope != _process_namespace() or not pid.isascii() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # another user's process, or not a valid process id
    return False
