"""``a2e.credits``: the balance, the transactions, and prices."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.context import RequestContext
from a2e_async._core.converter import time_or_none
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.namespace_helpers import check_int, check_json_body
from a2e_async._core.tasks.parsing import read_id, read_raw_records, read_total_count
from a2e_async._core.typeguards import as_integer, is_mapping
from a2e_async.account.raw_request import check_path
from a2e_async.errors import DecodeError, InvalidInput
from a2e_async.kinds.operations import paginate, request_quote
from a2e_async.models import Page


@frozen(kw_only=True)
class Balance:
    """The balance of the account."""

    coins: int
    """Coins left."""
    diamonds: int | None = None
    """Diamonds left; None if the service does not report them."""


@frozen(kw_only=True)
class Transaction:
    """One entry of the credits history."""

    coins: int | None
    """Change of the balance in coins, negative for spending; None if unknown."""
    created_at: datetime | None
    """When it was booked; None if unknown."""
    raw: Mapping[str, Any]
    """The entry as the service sent it; its fields are undocumented."""


class Credits:
    """``a2e.credits``: the coins of the account. Free of charge."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    async def balance(self) -> Balance:
        """Return the balance (``GET /api/v1/user/remainingCoins``)."""
        path = "/api/v1/user/remainingCoins"
        response = await self._context.session.request(
            "GET", path, **self._context.request_options()
        )
        data = response.data
        coins = as_integer(data.get("coins")) if is_mapping(data) else as_integer(data)
        if coins is None:
            raise DecodeError(
                f"The response of {path} has no number of coins.", method="GET", path=path
            )
        diamonds = as_integer(data.get("diamonds")) if is_mapping(data) else None
        return Balance(coins=coins, diamonds=diamonds)

    async def history(
        self,
        *,
        page: int = 1,
        page_size: int = 20,
        spending: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page[Transaction]:
        """Return one page of transactions, newest first.

        ``spending=True`` returns spending only, ``False`` income only. ``since`` and ``until``
        limit the time, both included; they need a time zone. One generation may have several
        transactions; most are booked when it completes, so a task that was just started may have
        none.
        ``GET /api/v1/transactionRecord/creditsHistory``.
        """
        params: dict[str, str | int] = {
            "pageNum": check_int(page, "page"),
            "pageSize": check_int(page_size, "page_size"),
        }
        if spending is not None:
            params["is_consumption"] = "true" if spending else "false"
        for name, moment in (("startDate", since), ("endDate", until)):
            if moment is not None:
                if not isinstance(moment, datetime) or moment.tzinfo is None:
                    raise InvalidInput(
                        "since and until must be datetimes with a time zone.", field="since"
                    )
                params[name] = moment.isoformat()
        response = await self._context.session.request(
            "GET",
            "/api/v1/transactionRecord/creditsHistory",
            params=params,
            **self._context.request_options(Priority.LIST),
        )
        rows = read_raw_records(response.data)
        return Page(tuple(_read_transaction(row) for row in rows), read_total_count(response.data))

    async def iter_history(
        self,
        *,
        spending: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Transaction]:
        """Yield all transactions, newest first, page by page; parameters as in `history`."""

        async def read(page: int) -> Page[Transaction]:
            return await self.history(
                page=page, page_size=100, spending=spending, since=since, until=until
            )

        async for transaction in paginate(read, lambda one: read_id(one.raw)):
            yield transaction

    @hide_frames
    async def quote(self, endpoint: str, body: Mapping[str, Any]) -> int | None:
        """Return the price of a request in coins, or None if the service gives none.

        ``endpoint`` is the path of a start, ``body`` its JSON body. For kinds with a namespace
        use their ``quote()``, which also checks the inputs. Raises `InvalidInput`, also for
        inputs that switch off a safety check. ``POST /api/v1/generation/quote``.
        """
        path, inputs = check_path(endpoint, "endpoint"), check_json_body("body", body)
        return await request_quote(self._context, path, inputs)


def _read_transaction(row: Mapping[str, Any]) -> Transaction:
    # The fields of an entry are undocumented; these names are the likely ones.
    keys = ("amount", "coins", "credits", "change", "value")
    coins = next((n for k in keys if (n := as_integer(row.get(k))) is not None), None)
    return Transaction(coins=coins, created_at=time_or_none(row.get("createdAt")), raw=row)
