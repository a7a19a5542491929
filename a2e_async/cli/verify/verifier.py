"""Sends the free requests of a verification through the client, and records what comes back."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from a2e_async._core.clock import utc_now
from a2e_async._core.tasks.parsing import read_id, read_raw_records, read_total_count
from a2e_async._core.typeguards import is_mapping
from a2e_async.cli.verify import contract
from a2e_async.cli.verify.report import Deviation, Observation, Report
from a2e_async.cli.verify.samples import fewest_inputs
from a2e_async.cli.verify.shapes import (
    STATUS_FIELDS,
    content_coding,
    field_name,
    media_type,
    shape_of,
    text_format,
)
from a2e_async.client import A2E
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    InvalidInput,
    InvalidRequest,
    TransportError,
)

if TYPE_CHECKING:
    from a2e_async._core.http.call import ApiCall
    from a2e_async._core.tasks.kind import TaskKind

PAGE_SIZE: Final = 2
"""Rows of a page: as few as show whether the service pages."""

MAX_DETAILS: Final = 8
"""Kinds whose newest task is requested by its id, with detail and with batchDetail."""

MAX_SECOND_PAGES: Final = 5
CONCURRENCY: Final = 6
"""Requests in flight; the client's rate limit applies to all of them."""

MAX_SILENT: Final = 3
"""Requests in a row without a response after which the verification ends."""

UNKNOWN_ID: Final = "000000000000000000000000"
UNKNOWN_PATH: Final = "/api/v1/a2eVerify/unknownOperation"
WRONG_KEY: Final = "sk_a2e_verify_wrong_key"

ACCOUNT: Final = "account"
ERRORS: Final = "errors"

_HEADERS: Final = ("retry", "limit", "quota", "trace", "cache", "encoding", "cf-", "via", "server")
"""Parts of the names of headers that a report lists."""


@frozen
class RawResponse:
    """One response as it was received."""

    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The decoded body; None if it is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


_responses: ContextVar[list[RawResponse] | None] = ContextVar("a2e_verify_responses", default=None)


@define(kw_only=True)
class Verifier:
    """Sends the requests and collects the observations.

    Created by the command for one client; changed by the responses.
    """

    a2e: A2E
    kinds: Sequence["TaskKind[..., Any]"]
    base_url: str
    report: Report
    show: Callable[[str], None]
    background: list[RawResponse] = field(factory=list[RawResponse])
    """Responses to requests that this class did not send: starts and polls of paid runs."""
    _silent: int = field(default=0, init=False)
    _second_pages: int = field(default=0, init=False)
    _details: int = field(default=0, init=False)

    def on_response(
        self, call: "ApiCall", status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Record a response; the client calls it with each."""
        raw = RawResponse(call.path, status, headers, body)
        found = _responses.get()
        (self.background if found is None else found).append(raw)
        skew = _clock_skew(headers.get("Date"))
        known = self.report.clock_skew
        if skew is not None and (known is None or abs(skew) < abs(known)):
            self.report = evolve(self.report, clock_skew=skew)
        self.report = evolve(
            self.report,
            requests=self.report.requests + 1,
            headers=dict(sorted({**self.report.headers, **_header_formats(headers)}.items())),
        )

    # -- what is requested ---------------------------------------------------------------------

    async def run(self) -> None:
        """Send all requests whose parts the report does not have yet.

        Raises the `A2EError` with which nothing more can be verified: the key is refused, or the
        service cannot be reached.
        """
        done = {*self.report.parts}
        self._details = self._count("detail ")
        self._second_pages = self._count("page 2 ")
        if ACCOUNT not in done:
            await self._balance()
        slots = asyncio.Semaphore(CONCURRENCY)

        async def verify_part(name: str, requests: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                self.show(f"{name} ({len(self.report.parts)} parts done)")
                await requests()
                self.report = evolve(self.report, parts=(*self.report.parts, name))

        parts: dict[str, Callable[[], Awaitable[None]]] = {
            ACCOUNT: self._account,
            ERRORS: self._errors,
            **{kind.name: _bind(self._kind, kind) for kind in self.kinds},
        }
        failed: A2EError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for name, requests in parts.items():
                    if name not in done:
                        group.create_task(verify_part(name, requests))
        except ExceptionGroup as errors:
            failed = next((e for e in errors.exceptions if isinstance(e, A2EError)), None)
            if failed is None:
                raise
        if failed is not None:
            raise failed
        self.report = evolve(self.report, complete={*parts} <= {*self.report.parts})

    def _count(self, prefix: str) -> int:
        return sum(one.name.startswith(prefix) for one in self.report.observations)

    async def _balance(self) -> None:
        """Request the balance first: it shows whether the address and the key are right."""
        raw, _, error = await self._send(self.a2e.credits.balance)
        found = (
            _failures(raw, error)
            if error is not None or raw is None
            else contract.check_envelope(raw.json)
        )
        self._add("balance", ACCOUNT, "GET /api/v1/user/remainingCoins", raw, error, found)
        if error is not None:
            raise error

    async def _account(self) -> None:
        a2e, item = self.a2e, self._item
        page: Any = await item(
            "history",
            "GET /api/v1/transactionRecord/creditsHistory",
            lambda: a2e.credits.history(page_size=PAGE_SIZE),
            check=_check_history,
        )
        if page is not None and len(page) >= PAGE_SIZE:
            await item(
                "history, page 2",
                "GET /api/v1/transactionRecord/creditsHistory",
                lambda: a2e.credits.history(page=2, page_size=PAGE_SIZE),
                check=_check_history,
            )
        await item("voices", "GET /api/v1/anchor/voice_list", a2e.voices.public)
        await item("preset voices", "POST /api/v1/anchor/tts_list", a2e.voices.presets)
        await item("languages", "POST /api/v1/anchor/language_list", a2e.voices.languages)
        await item(
            "speech previews",
            "GET /api/v1/tts/preview/list",
            lambda: a2e.voices.previews(page_size=PAGE_SIZE),
            like="/api/v1/video/send_tts",
        )
        avatar = "/api/v1/anchor/character_list"
        await item("avatars", "POST /api/v1/anchor/list", a2e.avatars.list, like=avatar)
        await item("own avatars", "POST /api/v1/custom_avatar/list", a2e.avatars.custom)
        await item("avatar tags", "GET /api/v1/custom_avatar/all_tags", a2e.avatars.tags)
        await item("backgrounds", "POST /api/v1/custom_back/allBackground", a2e.backgrounds.all)
        await item("own backgrounds", "POST /api/v1/custom_back/list", a2e.backgrounds.custom)
        await item("saved faces", "GET /api/v1/userFaceSwapImage/records", a2e.face_swap.faces)

    async def _errors(self) -> None:
        a2e = self.a2e
        await self._refused("unknown path", f"GET {UNKNOWN_PATH}", _get(a2e, UNKNOWN_PATH))
        detail = "/api/v1/userImage2Video"
        unknown = a2e.image_to_video.get
        await self._refused("unknown id", f"GET {detail}/{{id}}", lambda: unknown(UNKNOWN_ID))
        quote = "/api/v1/generation/quote"
        body: dict[str, Any] = {"endpoint": UNKNOWN_PATH, "requestBody": {}}
        await self._refused(
            "bad quote",
            f"POST {quote}",
            lambda: a2e.request("POST", quote, json=body, charged=False),
        )
        async with A2E(WRONG_KEY, base_url=self.base_url, request_timeout=20) as stranger:
            stranger._observe_responses(self.on_response)  # pyright: ignore[reportPrivateUsage]  # of this package
            await self._refused(
                "bad key", "GET /api/v1/user/remainingCoins", stranger.credits.balance
            )

    async def _kind(self, kind: "TaskKind[..., Any]") -> None:
        namespace = self.a2e.kind(kind.name)
        rows: list[Mapping[str, Any]] = []
        if kind.list is not None:
            rows = await self._list(kind, lambda: namespace.list(page_size=_page_size(kind)))
        if kind.processing_list is not None:
            at = kind.processing_list
            await self._records(kind, "processing", f"{at.method} {at.path}", namespace.processing)
        newest = next((id for row in rows if (id := read_id(row))), None)
        if newest is not None and self._details < MAX_DETAILS:
            self._details += 1
            await self._one(kind, newest)
        if kind.input is not None:
            await self._quote(kind)

    async def _list(
        self, kind: "TaskKind[..., Any]", request: Callable[[], Awaitable[Any]]
    ) -> list[Mapping[str, Any]]:
        assert kind.list is not None  # noqa: S101  # checked by the caller
        operation = f"{kind.list.method} {kind.list.path}"
        data, rows = await self._records(kind, "list", operation, request)
        if kind.paging is None or not rows:
            return rows
        if len(rows) > PAGE_SIZE:
            self._deviate(f"list {kind.name}", "paging ignored", kind.paging.size_parameter)
        total = read_total_count(data)
        more = total > len(rows) if total is not None else len(rows) == PAGE_SIZE
        if more and self._second_pages < MAX_SECOND_PAGES:
            self._second_pages += 1
            namespace = self.a2e.kind(kind.name)
            _, others = await self._records(
                kind,
                "page 2",
                operation,
                lambda: namespace.list(page=2, page_size=_page_size(kind)),
            )
            if others and [*map(read_id, others)] == [*map(read_id, rows)]:
                self._deviate(f"page 2 {kind.name}", "paging ignored", kind.paging.page_parameter)
        return rows

    async def _one(self, kind: "TaskKind[..., Any]", id: str) -> None:
        namespace = self.a2e.kind(kind.name)
        if kind.detail is not None:
            operation = f"{kind.detail.method} {kind.detail.path}"
            path, _ = kind.detail.for_id(id)

            def request() -> Awaitable[Any]:
                # For kinds with an unreliable detail, the client would use another operation.
                if kind.detail is not None and kind.unreliable_detail:
                    return self.a2e.request(kind.detail.method, path)
                return namespace.get(id)

            await self._records(kind, "detail", operation, request, is_list=False)
        if kind.batch_detail is not None:
            at = kind.batch_detail
            _, rows = await self._records(
                kind, "batch", f"{at.method} {at.path}", lambda: namespace.get_many([id])
            )
            if not any(read_id(row) == id for row in rows):
                self._deviate(f"batch {kind.name}", "not listed", "data[]")

    async def _quote(self, kind: "TaskKind[..., Any]") -> None:
        namespace = self.a2e.kind(kind.name)
        try:
            inputs = fewest_inputs(kind)
            kind.build_input(inputs)
        except (InvalidInput, IndexError):
            return  # a kind of the user's own, whose inputs cannot be derived
        name, operation = f"quote {kind.name}", "POST /api/v1/generation/quote"
        raw, coins, error = await self._send(lambda: namespace.quote(**inputs))
        notes: tuple[str, ...] = ()
        found: list[Deviation] = []
        if isinstance(error, InvalidRequest):
            notes = ("refused these inputs",)
        elif error is not None or (raw is not None and raw.status != 200):
            if coins is None and error is None:
                notes = ("has no price",)
            else:
                found += _failures(raw, error)
        elif coins is None and raw is not None:
            is_refused = is_mapping(raw.json) and raw.json.get("code") not in (0, None)
            notes = ("has no price",) if is_refused else ()
            found += () if is_refused else (Deviation(what="unreadable", where="data"),)
        if raw is not None and not found and not notes:
            found += contract.check_envelope(raw.json)
        self._add(name, kind.name, operation, raw, error, found, notes=notes)

    # -- how -----------------------------------------------------------------------------------

    async def _send(
        self, request: Callable[[], Awaitable[Any]]
    ) -> tuple[RawResponse | None, Any, A2EError | None]:
        """Send one request; return its last response, the client's result, and its error."""
        found: list[RawResponse] = []
        token = _responses.set(found)
        value, error = None, None
        try:
            value = await request()
        except A2EError as failure:
            error = failure
        finally:
            _responses.reset(token)
        if isinstance(error, TransportError) and not found:
            self._silent += 1
            if self._silent >= MAX_SILENT:
                raise error
        else:
            self._silent = 0
        return (found[-1] if found else None), value, error

    async def _item(
        self,
        name: str,
        operation: str,
        request: Callable[[], Awaitable[Any]],
        *,
        check: Callable[[Any], Iterable[Deviation]] | None = None,
        like: str | None = None,
    ) -> Any:
        """Send a request of the account; return the client's result, None for an error.

        ``like`` is an operation whose fields its items may have, too.
        """
        raw, value, error = await self._send(request)
        found = [*_failures(raw, error)] if error is not None else []
        if error is None and raw is not None:
            found += contract.check_envelope(raw.json)
            items = value if hasattr(value, "__iter__") else ()
            found += contract.check_items(items, operation.partition(" ")[2], like)
            found += check(value) if check is not None else ()
        self._add(name, ACCOUNT, operation, raw, error, found)
        if isinstance(error, AuthenticationError):
            raise error
        return value

    async def _refused(
        self, case: str, operation: str, request: Callable[[], Awaitable[Any]]
    ) -> None:
        """Send a request that must fail."""
        raw, _, error = await self._send(request)
        shown = type(error).__name__ if error is not None else ""
        found = (
            [*contract.check_refusal(case, raw.status, raw.json, shown)]
            if raw is not None
            else [Deviation(what="no response", found=shown)]
        )
        self._add(case, ERRORS, operation, raw, error, found, case=case)

    async def _records(
        self,
        kind: "TaskKind[..., Any]",
        role: str,
        operation: str,
        request: Callable[[], Awaitable[Any]],
        *,
        is_list: bool = True,
    ) -> tuple[Any, list[Mapping[str, Any]]]:
        """Send a request for records; return the data and the records of its response."""
        raw, _, error = await self._send(request)
        data = contract.data_of(raw.json) if raw is not None else None
        rows = read_raw_records(data) if error is None or raw is None or raw.status == 200 else []
        notes: list[str] = []
        found: list[Deviation] = []
        if role == "detail" and kind.unreliable_detail and error is not None:
            notes.append("refused a task that exists, as documented")
        elif error is not None:
            found += _failures(raw, error)
        if error is None and raw is not None:
            found += contract.check_envelope(raw.json)
            if is_list:
                found += contract.check_list(kind, data)
            else:
                found += contract.check_records(kind, rows, "data")
            notes += () if rows else ("empty",)
        name = f"{role} {kind.name}"
        statuses = STATUS_FIELDS | {kind.statuses.field, *kind.statuses.fallback_fields}
        self._add(
            name, kind.name, operation, raw, error, found,
            notes=tuple(notes), rows=len(rows), statuses=statuses,
        )  # fmt: skip
        if isinstance(error, AuthenticationError):
            raise error
        return data, rows

    def _add(
        self,
        name: str,
        part: str,
        operation: str,
        raw: RawResponse | None,
        error: A2EError | None,
        deviations: Iterable[Deviation],
        *,
        case: str = "",
        notes: tuple[str, ...] = (),
        rows: int = 0,
        statuses: frozenset[str] = STATUS_FIELDS,
    ) -> None:
        body = None if raw is None else raw.json
        code = body.get("code") if is_mapping(body) else None
        made = Observation(
            name=name,
            part=part,
            operation=operation,
            case=case,
            status=None if raw is None else raw.status,
            code=code if isinstance(code, int) and abs(code) < 10**6 else None,
            error="" if error is None else type(error).__name__,
            media_type="" if raw is None else media_type(raw.headers),
            body=None if body is None else shape_of(body, statuses, known=contract.known_names()),
            rows=min(rows, 50),
            notes=notes,
            deviations=tuple(dict.fromkeys(deviations)),
        )
        others = (one for one in self.report.observations if one.name != name)
        self.report = evolve(self.report, observations=(*others, made))

    def _deviate(self, name: str, what: Any, where: str) -> None:
        """Add a deviation to an observation that was made."""
        self.report = evolve(
            self.report,
            observations=tuple(
                evolve(one, deviations=(*one.deviations, Deviation(what=what, where=where)))
                if one.name == name
                else one
                for one in self.report.observations
            ),
        )

    def observe_background(self, kind: "TaskKind[..., Any]") -> None:
        """Add the observations of a paid run: its start and its polls, then forget them."""
        operations = {
            f"{role} {kind.name}": at
            for role, at in (
                ("start", kind.start), ("detail", kind.detail), ("batch", kind.batch_detail)
            )
            if at is not None
        }  # fmt: skip
        statuses = STATUS_FIELDS | {kind.statuses.field, *kind.statuses.fallback_fields}
        for name, at in operations.items():
            form = at.path.partition("{id}")[0]
            raws = [
                raw
                for raw in self.background
                if (raw.path.startswith(form) if "{id}" in at.path else raw.path == form)
            ]
            for raw in raws[-1:]:
                rows = read_raw_records(contract.data_of(raw.json))
                found = list(contract.check_records(kind, rows, "data"))
                self._add(
                    name, kind.name, f"{at.method} {at.path}", raw, None, found,
                    rows=len(rows), statuses=statuses,
                )  # fmt: skip
        self.background.clear()


def _bind(
    method: "Callable[[TaskKind[..., Any]], Awaitable[None]]", kind: "TaskKind[..., Any]"
) -> Callable[[], Awaitable[None]]:
    return lambda: method(kind)


def _get(a2e: A2E, path: str) -> Callable[[], Awaitable[Any]]:
    return lambda: a2e.request("GET", path)


def _page_size(kind: "TaskKind[..., Any]") -> int:
    return min(PAGE_SIZE, kind.max_page_size)


def _failures(raw: RawResponse | None, error: A2EError | None) -> Iterable[Deviation]:
    """Yield what is unexpected about a request that failed."""
    shown = type(error).__name__ if error is not None else ""
    if raw is None:
        yield Deviation(what="no response", found=shown)
    elif raw.json is None:
        yield Deviation(what="not JSON", found=f"{raw.status} {media_type(raw.headers)}".rstrip())
    elif raw.status != 200:
        yield Deviation(what="unexpected status", found=f"{raw.status}, {shown}")
    else:
        code = raw.json.get("code") if is_mapping(raw.json) else None
        is_code = isinstance(code, int) and code != 0 and abs(code) < 10**6
        yield Deviation(what="unreadable", found=f"code {code}, {shown}" if is_code else shown)


def _check_history(page: Any) -> Iterable[Deviation]:
    if any(entry.coins is None for entry in page):
        yield Deviation(what="missing field", where="data[].amount")
    if any(entry.created_at is None for entry in page):
        yield Deviation(what="missing field", where="data[].createdAt")


def _header_formats(headers: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers.items():
        low = name.lower()
        if low == "date" or any(part in low for part in _HEADERS):
            is_coding = low == "content-encoding"
            found[field_name(low)] = content_coding(value) if is_coding else text_format(value)
    return found


def _clock_skew(date: str | None) -> int | None:
    try:
        return round((utc_now() - parsedate_to_datetime(date or "")).total_seconds())
    except (ValueError, TypeError):
        return None
