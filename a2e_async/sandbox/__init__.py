"""The A2E service on this machine, to develop and test against without spending coins.

```python
from a2e_async.sandbox import Sandbox

async with Sandbox(speed=60) as sandbox:      # on the running event loop
    ...                                       # sandbox.base_url, sandbox.api_key, sandbox.ledger

with Sandbox(speed=60) as sandbox:            # in its own thread, for synchronous code
    ...
```

Importing this package is cheap: aiohttp is loaded when one of the names below is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core.faults import Faults as Faults
    from ._core.ledger import Charge as Charge
    from ._core.media_check import MediaCheck as MediaCheck
    from ._core.media_check import check_media as check_media
    from ._core.object_store import AuthLeak as AuthLeak
    from ._core.server import Sandbox as Sandbox
    from ._core.views import LedgerView as LedgerView
    from ._core.views import TaskView as TaskView
    from ._core.web.webhooks import Delivery as Delivery

__all__ = [
    "AuthLeak",
    "Charge",
    "Delivery",
    "Faults",
    "LedgerView",
    "MediaCheck",
    "Sandbox",
    "TaskView",
    "check_media",
]


def __getattr__(name: str) -> object:
    """Load the public names on first use."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    # Plain imports instead of import_module: the import contracts see them.
    from ._core import faults, ledger, media_check, object_store, server, views
    from ._core.web import webhooks

    public = {
        item.__name__: item
        for item in (
            object_store.AuthLeak,
            ledger.Charge,
            webhooks.Delivery,
            faults.Faults,
            views.LedgerView,
            media_check.MediaCheck,
            server.Sandbox,
            views.TaskView,
            media_check.check_media,
        )
    }
    globals().update(public)
    return public[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
