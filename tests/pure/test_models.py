"""Records of several parts, outputs as values, and recoveries of lost starts."""

import copy
import itertools
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async.errors import DecodeError, InvalidInput
from a2e_async.models import Failure, Output, Page, Record, Recovery, Status, merge_records

Q, R, S, F = Status.QUEUED, Status.RUNNING, Status.SUCCEEDED, Status.FAILED


def part(status: Status, n: int = 0, **more: Any) -> Record:
    """Return the record of one remote task."""
    outputs = (Output(url=f"https://h/{n}"),) if status is S else ()
    failure = Failure(f"no {n}") if status is F else None
    raw = f"{status}-{n}"
    return Record(
        id=f"i{n}", status=status, raw_status=raw, outputs=outputs, failure=failure, **more
    )


def expected(states: tuple[Status, ...]) -> Status:
    """Say it in words: all alike; over when all are; waiting only while none has begun."""
    if all(s in (S, F) for s in states):
        return F if F in states else S
    return Q if all(s is Q for s in states) else R


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_status_of_every_mixture(count: int) -> None:
    """All waiting: queued. All over: failed if any failed. Everything else is running."""
    for states in itertools.product(Status, repeat=count):
        parts = tuple(part(s, n) for n, s in enumerate(states))
        merged = merge_records(parts)
        assert merged.status is expected(states), states
        assert merged.id == "+".join(p.id for p in parts)
        assert merged.parts == parts
        assert merged.done is all(p.done for p in parts)
        assert merged.outputs == tuple(o for p in parts for o in p.outputs)
        assert len(merged.outputs) == states.count(S)
        assert (merged.failure is not None) is (F in states)
        assert merged.raw_status in {p.raw_status for p in parts}


def test_one_failed_part_keeps_the_good_outputs() -> None:
    """The whole is failed with the part's reason, and the paid results are still there."""
    merged = merge_records((part(S, 0), part(F, 1), part(S, 2)))
    assert merged.status is F
    assert merged.raw_status == "failed-1"
    assert merged.failure == Failure("no 1")
    assert [o.url for o in merged.outputs] == ["https://h/0", "https://h/2"]


@pytest.mark.parametrize(
    ("parts", "progress"),
    [
        ((part(R, progress=0.5), part(R, progress=0.1)), 0.3),
        ((part(R, progress=0.5), part(Q)), 0.25),
        ((part(R, progress=0.5), part(S)), 0.75),
        ((part(R, progress=0.5), part(F)), 0.75),
        ((part(S, progress=1.0), part(S)), 1.0),
        ((part(R), part(S)), None),
        ((part(R), part(Q)), None),
    ],
)
def test_progress_counts_ended_tasks_as_complete(parts: Any, progress: float | None) -> None:
    """The mean over the parts; None only when no part has a progress."""
    merged = merge_records(parts).progress
    assert merged == (progress if progress is None else pytest.approx(progress))


def test_coins_of_the_parts_are_one_sum() -> None:
    """The sum over the parts; None when no part has a price."""
    assert merge_records((part(R, coins=13), part(R, coins=13))).coins == 26
    assert merge_records((part(R, coins=0), part(R, coins=0))).coins == 0
    assert merge_records((part(R), part(R))).coins is None


def test_the_one_output_or_a_clear_error() -> None:
    """`output` is there for exactly one; the errors tell apart several, none yet, none ever."""
    assert part(S).output.url == "https://h/0"
    with pytest.raises(InvalidInput, match="2 outputs"):
        _ = merge_records((part(S, 0), part(S, 1))).output
    with pytest.raises(InvalidInput, match="running"):
        _ = part(R).output
    with pytest.raises(DecodeError, match="gives no result"):
        _ = Record(id="x", status=S).output


QUERY = st.text("abcdefXYZ0123456789=&%-_.~+/:@'", min_size=8, max_size=40)


@given(query=QUERY, user=st.sampled_from(["", "user:pass@", "u:p@ss@"]), fragment=st.booleans())
def test_an_output_never_shows_its_query(query: str, user: str, fragment: bool) -> None:
    """repr and str show neither signature nor credentials, alone and within a record."""
    url = f"https://{user}results.example/a.mp3{'#' if fragment else '?'}{query}"
    output = Output(url=url, media="audio", ref="dubbing:x", index=2)
    record = Record(id="x", status=S, outputs=(output,))
    for shown in (repr(output), str(output), repr(record), str(record), f"{output}"):
        assert query not in shown
        assert "pass@" not in shown
        assert "p@ss" not in shown
        assert not shown.startswith("Output") or "https://results.example/a.mp3" in shown


@given(first=QUERY, second=QUERY, name=st.sampled_from(["Signature", "X-Amz-Date", "Expires"]))
def test_outputs_are_equal_but_for_the_signature(first: str, second: str, name: str) -> None:
    """A renewed signature does not change the output: eq and hash ignore it."""
    first, second = first.replace("&", "-"), second.replace("&", "-")
    made = [
        Output(url=f"https://h/a?{name}={q}", media="audio", index=len(q)) for q in (first, second)
    ]
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])
    assert len(set(made)) == 1
    assert made[0] != Output(url="https://h/b", media="audio")
    assert made[0] != Output(url="https://h/a?id=1", media="audio")
    assert made[0] != Output(url="https://h/a", media="video")


def test_outputs_travel_without_their_client() -> None:
    """Pickle and copy keep everything but the client (and pickle the query, a signature).

    The error says how to go on.
    """
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    source: Any = object.__new__(type("Source", (), {"__reduce__": lambda self: 1 / 0}))
    output = Output(
        url="https://h/a?x", media="video", expires_at=moment, ref="k:i", index=3, source=source
    )
    pickled = pickle.loads(pickle.dumps(output))
    for twin in (pickled, copy.deepcopy(output), copy.copy(output)):
        assert (twin, hash(twin)) == (output, hash(output))
        assert twin.url == ("https://h/a" if twin is pickled else "https://h/a?x")
        assert twin.unsigned is (twin is pickled)
        assert (twin.media, twin.index) == ("video", 3)
        assert (twin.expires_at, twin.ref, twin._source) == (moment, "k:i", None)
        with pytest.raises(InvalidInput, match="attach"):
            twin.open()
    record = merge_records((part(S, 0), part(R, 1)))
    assert pickle.loads(pickle.dumps(record)) == record


@given(
    name=st.none() | st.text(max_size=30),
    mark=st.none() | st.text(max_size=30),
    offset=st.integers(-720, 720),
    expected=st.integers(1, 8),
)
def test_a_recovery_round_trips_through_json(
    name: str | None, mark: str | None, offset: int, expected: int
) -> None:
    """A recovery is JSON; fields of later versions are ignored, defaults are filled in."""
    moment = datetime(2025, 1, 1, 12, 30, 1, 5, tzinfo=timezone(timedelta(minutes=offset)))
    made = Recovery(
        kind="dubbing",
        path="/p",
        name=name,
        mark=mark,
        digest="d",
        sent_at=moment,
        expected=expected,
    )
    values = json.loads(json.dumps(made.to_dict()))
    assert Recovery.from_dict(values) == made
    assert Recovery.from_dict(values | {"of_a_later_version": 1}) == made
    del values["expected"]
    assert Recovery.from_dict(values).expected == 1


def test_a_page_is_its_items() -> None:
    """A page iterates and counts its items; the total is another thing."""
    page = Page((1, 2, 3), 40)
    assert list(page) == [1, 2, 3]
    assert len(page) == 3
    assert page.total == 40
    assert Page(()).total is None
    assert not Page(())


@pytest.mark.parametrize("status", Status)
def test_terminal_is_succeeded_or_failed(status: Status) -> None:
    """A status is its lower-case word, and terminal only when nothing will change."""
    assert status == status.name.lower()
    assert status.terminal is (status in (S, F))
