"""The handlers of all operations of the account, by method and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import avatars, coins, legacy, streaming, uploads, voices
from .helpers import RequestHandler, validated_handler

_HANDLERS: Final[Mapping[str, RequestHandler]] = {
    **coins.HANDLERS,
    **uploads.HANDLERS,
    **{
        name: validated_handler(function)
        for module in (voices, avatars, streaming, legacy)
        for name, function in module.OPERATIONS.items()
    },
}

ACCOUNT_HANDLERS: Final[Mapping[tuple[str, str], RequestHandler]] = {
    (name.partition(" ")[0], name.partition(" ")[2]): handler for name, handler in _HANDLERS.items()
}
"""Each handler by the method and the path of its operation."""
