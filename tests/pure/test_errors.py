"""Every exception can be pickled, keeps its attributes, and ends with a full stop."""

import ast
import copy
import inspect
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from a2e_async import errors
from a2e_async.errors import A2EError, ApiError, RateLimited, TaskError, TaskFailed, TaskTimeout
from a2e_async.models import Output, Record, Recovery, Status


class Handle:
    """Stands for a Task: it has a ref, and cannot be pickled."""

    ref = "dubbing:66ea4dd87db10c73fa29b570"

    def __reduce__(self) -> Any:
        raise TypeError("a handle does not travel")


RECORD = Record(id="x", status=Status.FAILED, outputs=(Output(url="https://h/a?x"),))
RECOVERY = Recovery(
    kind="dubbing", path="/p", name="n", mark=None, digest="d", sent_at=datetime.now(UTC)
)
API: dict[str, Any] = {
    "http_status": 418,
    "code": 1003,
    "message": "refused",
    "trace_id": "t-1",
    "method": "POST",
    "path": "/api/v1/x",
    "body": "{}",
    "attempts": 3,
    "advice": "Do this next.",
    "from_api": True,
}
CLASSES = [getattr(errors, name) for name in errors.__all__]


def make(cls: type[A2EError]) -> A2EError:
    """Return an error of that class with every argument given."""
    handle: Any = Handle()
    wire: dict[str, Any] = {"method": "GET", "path": "/p"}
    special: dict[str, dict[str, Any]] = {
        "InvalidInput": {"field": "prompt"},
        "BudgetExceeded": {"pending": True},
        "TooBusy": {
            "retry_after": 2.5,
            "unfinished": 3,
            "max_unfinished": 3,
            "ahead": 1,
            "scope": "caller",
        },
        "KeyConflict": {"key": "k", "ref": Handle.ref},
        "DecodeError": {**wire, "http_status": 502, "excerpt": "<html>", "trace_id": "t"},
        "TransferError": {"url": "https://h/a", "path": "/tmp/a", "http_status": 403, "done": 7},
        "StartOutcomeUnknown": {"recovery": RECOVERY, "candidates": [RECORD]},
        "TaskFailed": {"task": handle, "record": RECORD},
        "ResultMissing": {"task": handle, "record": RECORD},
    }
    if issubclass(cls, ApiError):
        return cls(**API, **({"retry_after": 1.5} if cls is RateLimited else {}))
    if issubclass(cls, errors.TransportError):
        return cls("It broke.", **wire, sent=True, attempts=4)
    if issubclass(cls, TaskError):
        return cls("It broke.", **special.get(cls.__name__, {"task": handle}))
    return cls("It broke.", **special.get(cls.__name__, {}))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_every_error_travels_with_its_attributes(cls: type[A2EError], travel: Any) -> None:
    """Pickle and deep copy give the same class, text, arguments, notes and attributes."""
    error = make(cls)
    error.add_note("while testing")
    twin = travel(error)
    assert type(twin) is cls
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert twin.__notes__ == ["while testing"]
    state = {k: v for k, v in vars(error).items() if k != "task"}
    assert {k: v for k, v in vars(twin).items() if k != "task"} == state
    given = inspect.signature(cls.__init__).parameters
    for name in set(given) - {"self", "message", "advice", "args", "kwargs", "fields", "task"}:
        assert getattr(twin, name) == getattr(error, name)
        assert getattr(twin, name) not in (None, "", 0, ())


@pytest.mark.parametrize("cls", [c for c in CLASSES if issubclass(c, TaskError)])
def test_task_errors_keep_the_ref_and_drop_the_handle(cls: type[TaskError]) -> None:
    """In another process the ref is all that is needed to come back."""
    error: Any = make(cls)
    assert error.task is not None
    twin = pickle.loads(pickle.dumps(error))
    assert twin.ref == Handle.ref
    assert twin.task is None
    if cls is TaskFailed:
        assert twin.record == RECORD
        assert twin.record.outputs[0].url == "https://h/a"  # its query may be a signature


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_messages_end_with_a_full_stop(cls: type[A2EError]) -> None:
    """Each message is a sentence, with and without advice, trace and reason."""
    assert str(make(cls)).endswith(".")
    if issubclass(cls, ApiError):
        bare = API | {"advice": "", "trace_id": None, "code": None, "message": "  "}
        text = str(cls(**bare))
        assert text == "POST /api/v1/x: no reason given (HTTP 418)."
        assert str(make(cls)) == (
            "POST /api/v1/x: refused (HTTP 418, code 1003) [trace t-1]. Do this next."
        )


def test_the_tree_is_the_documented_one() -> None:
    """What a program catches stays as it is written in the design."""
    assert all(issubclass(cls, A2EError) for cls in CLASSES)
    assert len(set(CLASSES)) == len(errors.__all__)
    assert issubclass(errors.InvalidInput, ValueError)
    assert issubclass(TaskTimeout, TimeoutError)
    assert issubclass(errors.ContentRejected, errors.PermissionDenied)
    for cls in (errors.ConnectError, errors.ResponseTimeout, errors.ConnectionLost):
        assert cls.__bases__ == (errors.TransportError,)
    assert not issubclass(errors.DecodeError, ApiError)
    assert not issubclass(errors.ResponseTimeout, TimeoutError)


ROOT = Path(errors.__file__).parent
MINE = [
    "errors",
    "_core/base_errors",
    "_core/redact",
    "_core/config",
    "models",
    "_core/schema/inputs",
    "_core/tasks/kind",
    "_core/tasks/parsing",
]
MINE += [f"kinds/{n}" for n in ("dubbing", "talking_video", "image_to_video", "registry")]


def raised(tree: ast.AST) -> list[ast.expr]:
    """Return the message of every error of the tree that is built with a literal text."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            name = getattr(node.exc.func, "id", "")
            if name in errors.__all__:
                found.append(node.exc.args[0])
    return found


@pytest.mark.parametrize("module", MINE)
def test_every_raised_text_ends_with_a_full_stop(module: str) -> None:
    """Read from the source: each literal message of a raise is a whole sentence."""
    texts = raised(ast.parse((ROOT / f"{module}.py").read_text("utf-8")))
    for text in texts:
        last = text.values[-1] if isinstance(text, ast.JoinedStr) else text
        assert isinstance(last, ast.Constant), ast.unparse(text)
        assert str(last.value).endswith("."), ast.unparse(text)
    if module in ("config", "inputs"):
        assert len(texts) > 5
