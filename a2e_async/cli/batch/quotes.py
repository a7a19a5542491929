"""What the jobs of a file would cost, as far as the service says it."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from a2e_async.cli.batch.check import LineJob
from a2e_async.cli.flags import has_timed_file
from a2e_async.errors import InvalidRequest
from a2e_async.inputs import Media, input_fields, is_url
from a2e_async.narrow import is_list

if TYPE_CHECKING:
    from a2e_async.client import A2E
    from a2e_async.tasks.journal import Entry, Journal

AT_ONCE: Final = 200
"""Jobs whose prices are asked for together."""

REMEMBERED: Final = 10_000
"""Prices that are kept; jobs whose inputs are alike are asked for once."""

_NO_MATTER: Final = frozenset({"name", "key", "meta"})


@define
class Quotes:
    """``coins`` of the ``priced`` jobs; ``unpriced`` have no figure, ``begun`` were paid before.

    ``about``: priced ones with a file of sound or video that the service has not seen; ``paid``
    the coins that those begun have cost.
    """

    coins: int = 0
    priced: int = 0
    unpriced: int = 0
    begun: int = 0
    about: int = 0
    paid: int = 0


async def quote_all(
    a2e: "A2E",
    jobs: Iterable[LineJob],
    journal: "Journal | None",
    say: Callable[[str], None],
) -> Quotes:
    """Ask what each job would cost. Nothing is uploaded or started.

    Jobs whose keys the ``journal`` knows are begun: they cost nothing more. Raises what makes
    every question vain: a key that is refused, no network.
    """
    quotes, known = Quotes(), dict[str, int | None]()
    left = iter(jobs)
    while some := list(islice(left, AT_ONCE)):
        new: list[LineJob] = []
        for job in some:
            entry = await _begun(job, journal)
            if entry is None:
                new.append(job)
            else:
                quotes.begun, quotes.paid = quotes.begun + 1, quotes.paid + (entry.coins or 0)
        marks = [_mark(job) for job in new]
        asked = {mark: job for mark, job in zip(marks, new, strict=True) if mark not in known}
        prices = await asyncio.gather(*(_quote(a2e, job) for job in asked.values()))
        found = dict(zip(asked, prices, strict=True))
        for job, mark in zip(new, marks, strict=True):
            price = known[mark] if mark in known else found[mark]
            if price is None:
                quotes.unpriced += 1
            else:
                quotes.priced, quotes.coins = quotes.priced + 1, quotes.coins + price
                quotes.about += has_timed_file(job.kind, _given(job))
        known.update(islice(found.items(), max(0, REMEMBERED - len(known))))
        say(f"asking for prices: {quotes.priced + quotes.unpriced + quotes.begun} jobs")
    return quotes


async def _begun(job: LineJob, journal: "Journal | None") -> "Entry | None":
    if journal is None or job.key is None:
        return None
    entry = await journal.get(job.key)
    return entry if entry is not None and entry.ids else None


async def _quote(a2e: "A2E", job: LineJob) -> int | None:
    namespace: Any = a2e.kind(job.kind.name)
    try:
        coins: int | None = await namespace.quote(**_given(job))
    except InvalidRequest:
        return None  # a local file has no address yet, which some quotes refuse
    return coins


def _given(job: LineJob) -> dict[str, Any]:
    fields = input_fields(type(job.input))
    given = {f.name: getattr(job.input, f.name) for f in fields if f.name not in _NO_MATTER}
    return {name: value for name, value in given.items() if value is not None}


def _mark(job: LineJob) -> str:
    """Return what jobs have in common that are asked for in the same words."""
    given = _given(job)
    for f in input_fields(type(job.input)):
        if f.name in given and f.note(Media) is not None:
            value = given[f.name]
            urls = [url for url in (value if is_list(value) else [value]) if is_url(url)]
            given[f.name] = [urls, len(value) if is_list(value) else None]
    words = json.dumps([job.kind.name, given], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()
