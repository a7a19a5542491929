"""The A2E service on this machine, to try and test things with, without coins.

```python
from a2e_async.sandbox import Sandbox

async with Sandbox(speed=60) as sandbox:      # on the running loop
    ...                                       # sandbox.base_url, sandbox.api_key, sandbox.ledger

with Sandbox(speed=60) as sandbox:            # in a thread of its own, for synchronous code
    ...
```

Importing this package is cheap: aiohttp is loaded when a name below is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .media_check import MediaCheck as MediaCheck
    from .media_check import check_media as check_media
    from .locked_service import Leak as Leak
    from .locked_service import LedgerView as LedgerView
    from .locked_service import TaskView as TaskView
    from .faults import Faults as Faults
    from .ledger import Charge as Charge
    from .server import Sandbox as Sandbox
    from .web.webhooks import Delivery as Delivery

_HOMES = {
    "Sandbox": "server",
    "Faults": "faults",
    "Charge": "ledger",
    "Delivery": "webhooks",
    "LedgerView": "engine",
    "TaskView": "engine",
    "Leak": "engine",
    "MediaCheck": "checks",
    "check_media": "checks",
}

__all__ = [
    "Charge",
    "Delivery",
    "Faults",
    "Leak",
    "LedgerView",
    "MediaCheck",
    "Sandbox",
    "TaskView",
    "check_media",
]


def __getattr__(name: str) -> object:
    """Loads a public name on first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
