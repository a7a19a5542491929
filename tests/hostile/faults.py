"""Faults as data: how a response is changed, and when."""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

from .reply import BEFORE_HEAD, Reply, json_reply

GATEWAY_PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Gateway</title></head><body>nginx</body></html>"
)


class Step(StrEnum):
    """The step of a task's life that a request performs."""

    START = "start"
    DETAIL = "detail"
    BATCH_DETAIL = "batch_detail"
    LIST = "list"
    PROCESSING = "processing"
    DELETE = "delete"
    CHARGED = "charged"
    """A paid call that creates no task, such as speech."""
    PRESIGN = "presign"
    UPLOAD = "upload"
    FILE = "file"
    QUOTE = "quote"
    ACCOUNT = "account"


@dataclass(frozen=True)
class Fault:
    """One fault of a response: ``change`` turns the correct response into the faulty one."""

    name: str
    change: Callable[[Reply], Reply]
    refuses: bool = False
    """The fault is a refusal by the service itself: nothing was accepted."""

    # -- other statuses --------------------------------------------------------------------------

    @classmethod
    def status(cls, status: int, *, body: bytes = b"", content_type: str = "text/plain") -> "Fault":
        """Only this status, as a proxy between client and service might send it."""
        headers = {"Content-Type": content_type}
        if 300 <= status < 400:
            headers["Location"] = "/elsewhere"
        return cls(f"status {status}", lambda _: Reply(status=status, headers=headers, body=body))

    @classmethod
    def page(cls, status: int) -> "Fault":
        """A gateway's HTML page with a status."""
        made = cls.status(status, body=GATEWAY_PAGE, content_type="text/html; charset=utf-8")
        return replace(made, name=f"page {status}")

    @classmethod
    def redirect(cls, status: int, location: str) -> "Fault":
        """A redirect to any location, even a malformed one."""
        return cls(
            f"redirect {status} to {location[:30]}",
            lambda _: Reply(status=status, headers={"Location": location}),
        )

    @classmethod
    def bare_json(cls, status: int) -> "Fault":
        """JSON from a proxy: without an envelope, so it is not from the API."""
        body = json.dumps({"error": "upstream connect error"}).encode()
        made = cls.status(status, body=body, content_type="application/json")
        return replace(made, name=f"bare JSON {status}")

    @classmethod
    def refusal(
        cls, status: int = 400, code: int = 400, message: str = "refused", **headers: str
    ) -> "Fault":
        """The API's own refusal: an envelope with a code."""
        return cls(
            f"refusal {status} code {code}",
            lambda _: json_reply(None, status=status, code=code, message=message).with_headers(
                **headers
            ),
            refuses=True,
        )

    @classmethod
    def envelope(cls, status: int, code: int, message: str = "internal error") -> "Fault":
        """An envelope with a code and a status that proves nothing."""
        return cls(
            f"envelope {status} code {code}",
            lambda _: json_reply(None, status=status, code=code, message=message),
        )

    # -- other bodies ----------------------------------------------------------------------------

    @classmethod
    def body(
        cls, name: str, body: bytes, content_type: str = "application/json", status: int = 200
    ) -> "Fault":
        """Another body under the same or another status."""
        return cls(
            name, lambda _: Reply(status=status, headers={"Content-Type": content_type}, body=body)
        )

    @classmethod
    def empty(cls, status: int = 200) -> "Fault":
        """No body at all."""
        return replace(cls.body("", b"", status=status), name=f"empty {status}")

    @classmethod
    def data(cls, data: Any) -> "Fault":
        """The envelope with other data."""
        text = json.dumps(data)[:30]
        return cls(f"data {text}", lambda _: json_reply(data))

    @classmethod
    def edit(cls, name: str, edit: Callable[[Any], Any]) -> "Fault":
        """The envelope with edited data; ``edit`` gets a copy."""
        return cls(name, lambda reply: json_reply(edit(json.loads(json.dumps(reply.data)))))

    @classmethod
    def field(cls, name: str, value: Any) -> "Fault":
        """The same records with one field of each replaced."""
        text = repr(value)[:20]
        return cls.edit(f"{name} = {text}", lambda data: _with_field(data, name, value))

    @classmethod
    def fewer_records(cls) -> "Fault":
        """Only the first of several records."""
        return cls.edit("fewer records", lambda data: data[:1] if isinstance(data, list) else data)

    @classmethod
    def nested(cls, depth: int) -> "Fault":
        """JSON nested too deeply for a recursive parser."""
        body = b'{"code":0,"data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        return cls.body(f"nested {depth}", body)

    @classmethod
    def huge(cls, size: int) -> "Fault":
        """A correct envelope with a very long text beside its data."""

        def change(reply: Reply) -> Reply:
            body = json.dumps({"code": 0, "data": reply.data, "filler": "x" * size}).encode()
            return replace(reply, body=body)

        return cls(f"huge {size}", change)

    @classmethod
    def mistyped(cls, content_type: str) -> "Fault":
        """The correct body with another Content-Type."""
        return cls(
            f"labelled {content_type}",
            lambda reply: replace(reply, headers={**reply.headers, "Content-Type": content_type}),
        )

    # -- other ways of sending -------------------------------------------------------------------

    @classmethod
    def disconnect(cls) -> "Fault":
        """The connection is reset instead of a response."""
        return cls("disconnect", lambda reply: replace(reply, abort_at=BEFORE_HEAD))

    @classmethod
    def cut(cls, share: float = 0.5, *, reset: bool = True, length: bool = True) -> "Fault":
        """Part of the body, then a reset or a regular close, with or without Content-Length."""

        def change(reply: Reply) -> Reply:
            at = int(len(reply.body) * share)
            if reset:
                return replace(reply, abort_at=at, until_close=not length)
            return replace(
                reply,
                body=reply.body[:at],
                declared_length=len(reply.body) if length else None,
                until_close=not length,
            )

        how = f"{'reset' if reset else 'end'}{'' if length else ' without length'}"
        return cls(f"cut at {share:g} by {how}", change)

    @classmethod
    def cut_text(cls, share: float = 0.5) -> "Fault":
        """A well-formed response whose text stops in the middle."""
        return cls(
            f"text cut at {share:g}",
            lambda reply: replace(reply, body=reply.body[: int(len(reply.body) * share)]),
        )

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """A late response."""
        return cls(f"slow {seconds:g} s", lambda reply: replace(reply, delay=seconds))

    @classmethod
    def chunked(cls, size: int = 7, pause: float = 0.0) -> "Fault":
        """In small chunks."""
        return cls(
            f"chunks of {size}",
            lambda reply: replace(reply, chunked=True, chunk_size=size, chunk_pause=pause),
        )

    @classmethod
    def encoded(cls, coding: str) -> "Fault":
        """A Content-Encoding: gzip, gzip-members, deflate, raw-deflate; others set a header."""

        def change(reply: Reply) -> Reply:
            label, encode = _CODINGS.get(coding, (coding, bytes))
            return replace(reply, body=encode(reply.body)).with_headers(Content_Encoding=label)

        return cls(f"encoded {coding}", change)

    @classmethod
    def header(cls, name: str, value: str) -> "Fault":
        """One more header."""
        return cls(
            f"{name}: {value[:20]}",
            lambda reply: replace(reply, headers={**reply.headers, name: value}),
        )


def _with_field(data: Any, name: str, value: Any) -> Any:
    if isinstance(data, list):
        return [_with_field(one, name, value) for one in data]
    if isinstance(data, dict) and isinstance(rows := data.get("rows") or data.get("list"), list):
        return {**data, "rows": [_with_field(one, name, value) for one in rows]}
    return {**data, name: value} if isinstance(data, dict) else data


def _members(body: bytes) -> bytes:
    half = len(body) // 2
    return gzip.compress(body[:half], mtime=0) + gzip.compress(body[half:], mtime=0)


def _raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


_CODINGS: Final[dict[str, tuple[str, Callable[[bytes], bytes]]]] = {
    "gzip": ("gzip", lambda body: gzip.compress(body, mtime=0)),
    "gzip-members": ("gzip", _members),
    "deflate": ("deflate", zlib.compress),
    "raw-deflate": ("deflate", _raw_deflate),
}


@dataclass
class OrderedFault:
    """A fault and when it applies. ``times`` counts down; None means always."""

    step: Step
    fault: Fault
    after_accept: bool = True
    """The paid request is accepted and charged, although the response says otherwise."""
    accept_late: float | None = None
    """Seconds after the response until a paid request is accepted, as by a queueing gateway."""
    times: int | None = 1
    kind: str | None = None
    skip: int = 0
    """Requests of this step that succeed before the fault applies."""

    def due(self, step: Step, kind: str | None) -> bool:
        """Return whether the fault applies to a request; if so, count it."""
        if self.step is not step or self.kind not in (None, kind) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    @property
    def accepts(self) -> bool:
        """Whether a paid request is accepted before its response is sent."""
        return self.after_accept and self.accept_late is None and not self.fault.refuses


class ChooseFault(Protocol):
    """Return a fault for a request, or None."""

    def __call__(self, step: Step, kind: str | None, /) -> OrderedFault | None: ...


@dataclass
class Faults:
    """The faults of a server, in the order in which they were added."""

    ordered: list[OrderedFault] = field(default_factory=list)
    choose: ChooseFault | None = None
    """Called if no added fault applies; simulations draw random faults here."""
    shown: list[tuple[Step, str]] = field(default_factory=list)
    """Step and name of every fault applied so far."""

    def add(self, step: Step, fault: Fault, **options: Any) -> OrderedFault:
        """Add a fault; the options are those of `OrderedFault`."""
        made = OrderedFault(step, fault, **options)
        self.ordered.append(made)
        return made

    def clear(self) -> None:
        """Remove all faults."""
        self.ordered.clear()
        self.choose = None

    def next(self, step: Step, kind: str | None) -> OrderedFault | None:
        """Return the fault that applies to a request that has just arrived, or None."""
        found = next((one for one in self.ordered if one.due(step, kind)), None)
        if found is None and self.choose is not None:
            found = self.choose(step, kind)
        if found is not None:
            self.shown.append((step, found.fault.name))
        return found
