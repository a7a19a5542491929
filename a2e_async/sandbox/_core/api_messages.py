"""The API's requests and responses, free of HTTP: what the service takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from a2e_async._core.typeguards import is_mapping

from .api_spec import Operation


@attrs.frozen(slots=True)
class SandboxResponse:
    """A response of the service: the HTTP status and the JSON envelope."""

    status: int
    body: Mapping[str, Any]

    @property
    def data(self) -> Any:
        """The envelope's ``data``; None for a failure."""
        return self.body.get("data")


@attrs.frozen(slots=True)
class SandboxRequest:
    """A request to one operation, already routed and decoded."""

    operation: Operation
    id: str
    """The id in the path; "" when the path has none."""

    query: Mapping[str, str]
    body: Any
    """The decoded JSON body; None when none was sent."""

    @property
    def body_id(self) -> object:
        """The ``_id`` field of the body; None when there is none."""
        return self.body.get("_id") if is_mapping(self.body) else None
