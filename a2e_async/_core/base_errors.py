"""The base of the package's errors, and how they drop what could hold secrets."""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from a2e_async._core.redact import excerpt, may_reveal, redact

P = ParamSpec("P")


T = TypeVar("T")


E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Return ``error`` without the traceback frames of it and its causes.

    Tools that print the local variables of a traceback would show keys, headers, bodies and URLs. A
    cause from another library whose own text contains a secret is replaced.
    """
    left: list[BaseException] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        if one.__cause__ is not None:
            one.__cause__ = _redacted_cause(one.__cause__)
            left.append(one.__cause__)
        if one.__context__ is not None:
            one.__context__ = _redacted_cause(one.__context__)
            left.append(one.__context__)
    return error


def _redacted_cause(raw: BaseException) -> BaseException:
    if isinstance(raw, A2EError) or not may_reveal(f"{raw} {raw!r}"):
        return raw
    kept = Exception(f"{type(raw).__name__}: {excerpt(str(raw))}")
    kept.__cause__, kept.__context__ = raw.__cause__, raw.__context__
    return kept


def hide_frames(method: Callable[P, T]) -> Callable[P, T]:
    """Keep a method's arguments, and all frames below it, out of the tracebacks of its errors.

    An exception from outside this package indicates a bug and keeps its frames, so that it can be
    reported.
    """
    if iscoroutinefunction(method):

        @wraps(method)
        async def wait(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return await method(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                drop_frames(error)
                raise

        return cast("Callable[P, T]", wait)

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            drop_frames(error)
            raise

    shown: Any = call
    # Tests that change a default of the method find it here, too.
    shown.__kwdefaults__ = getattr(method, "__kwdefaults__", None)
    return call


def drop_frames(error: BaseException) -> None:
    """Drop the traceback frames of an error before it is raised again, unless it is a bug."""
    if isinstance(error, A2EError) or not isinstance(error, Exception):
        without_frames(error)


def _unpickle_error(
    cls: type["A2EError"], args: tuple[Any, ...], state: dict[str, Any]
) -> "A2EError":
    # Without calling `__init__`, whose parameters differ between the classes.
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class A2EError(Exception):
    """Base class of all errors of this package. Secrets are removed from its text."""

    __module__ = "a2e_async.errors"

    def __init__(self, *args: Any) -> None:
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_error, (type(self), self.args, self._state())

    def _state(self) -> dict[str, Any]:
        return dict(self.__dict__)


class InvalidInput(A2EError, ValueError):
    """An input was refused locally; nothing was sent or charged.

    ``field`` is the name of the input, if a single input is the reason.
    """

    __module__ = "a2e_async.errors"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class DecodeError(A2EError):
    """The response is not what the API documents (HTML, broken JSON, wrong shape).

    ``http_status``, ``method``, ``path``, ``excerpt`` (first 500 characters, redacted).
    """

    __module__ = "a2e_async.errors"

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        http_status: int = 200,
        excerpt: str = "",
        trace_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.http_status = http_status
        self.excerpt = excerpt
        self.trace_id = trace_id
        self.attempts = attempts
