"""Who owns open entries of a journal: a name that tells, on Linux, whether its process still lives.

A lease alone would keep the entries of a process that was killed for half a minute. A process of
the same boot and the same process namespace can be asked for; of all others only the lease tells.
"""

import hashlib
import os
from functools import cache
from pathlib import Path
from uuid import uuid4


@cache
def _scope() -> str:
    """Return what names this boot and process namespace; "" where it cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # its text, not its target
    except OSError:
        return ""
    return hashlib.sha256(boot + space.encode()).hexdigest()[:16]


def new_owner() -> str:
    """Return a new owner's name for this process; unique."""
    return f"{_scope()}.{os.getpid()}.{uuid4().hex}"


def is_dead(owner: str) -> bool:
    """Whether an owner's process is certainly gone. False where that cannot be told."""
    scope, _, rest = owner.partition(".")
    pid = rest.partition(".")[0]
    if not scope or scope != _scope() or not pid.isascii() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # another user's process, or a number that is none
    return False
