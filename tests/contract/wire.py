"""Records every request that a client sends, with its inputs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from attrs import define, field

from a2e_async._core.http.session import ApiSession

from .spec import CONTRACT, Operation, find


@define
class Log:
    """The requests of a test: by operation, and those that the contract does not know."""

    inputs: dict[str, set[str]] = field(factory=dict)
    """The names of sent inputs, by operation."""
    bodies: dict[str, list[Any]] = field(factory=dict)
    unknown: list[str] = field(factory=list)

    @property
    def operations(self) -> set[str]:
        """Names of the operations that were called."""
        return set(self.inputs)

    def add(self, method: str, path: str, params: Mapping[str, Any] | None, json: Any) -> None:
        """Record one request."""
        operation = find(method, path)
        if operation is None:
            self.unknown.append(f"{method} {path}")
            return
        names = {name for name, value in (params or {}).items() if value is not None}
        if isinstance(json, dict):
            names |= set(json)
        self.inputs.setdefault(operation.name, set()).update(names)
        self.bodies.setdefault(operation.name, []).append(json)


@contextmanager
def logged() -> Iterator[Log]:
    """Record every request; none is changed or delayed."""
    log = Log()
    made = ApiSession.new_call

    def new_call(self: ApiSession, method: str, path: str, **options: Any) -> Any:
        log.add(method, path, options.get("params"), options.get("json"))
        return made(self, method, path, **options)

    with patch.object(ApiSession, "new_call", new_call):
        yield log


def uncovered(log: Log) -> list[Operation]:
    """Return the operations that were never called."""
    return [item for name, item in CONTRACT.items() if name not in log.operations]
