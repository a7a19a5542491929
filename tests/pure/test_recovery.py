"""Which records of a list are adopted for a start whose answer was lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from a2e_async.inputs import TaskInput
from a2e_async.models import Record, Recovery
from a2e_async.tasks.kind import Endpoint, TaskKind
from a2e_async.tasks.recovery import Found, echo_of, match, repeats_names, wait_for_absence

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MARK = "a2e-" + "0123456789abcdefghij"
OTHER_MARK = "a2e-" + "9" * 20
BODY = {"prompt": "a lake", "image_url": "https://m.example/a.png?Signature=1", "n": 2}

KIND: TaskKind[..., Any] = TaskKind(
    name="any",
    input=TaskInput,
    record=Record,
    start_at=Endpoint("POST", "/start"),
    list_at=Endpoint("GET", "/list"),
)
NAMELESS = evolve(KIND, name_wire=None)


def lost(name: str | None = MARK, mark: str | None = MARK, **values: Any) -> Recovery:
    """Return a start that is looked for; under way from NOW for ten seconds."""
    given = {
        "kind": "any",
        "path": "/start",
        "digest": "d",
        "sent_at": NOW,
        "lost_at": NOW + timedelta(seconds=10),
        "echo": echo_of(BODY),
    }
    return Recovery(name=name, mark=mark, **{**given, **values})


def row(n: int, name: str | None = MARK, *, at: float = 5, **values: Any) -> dict[str, Any]:
    """Return a record made so many seconds after NOW."""
    made = (NOW + timedelta(seconds=at)).isoformat()
    return {"_id": f"{n:024x}", "name": name, "createdAt": made, **values}


def look(
    starts: list[Recovery],
    rows: list[dict[str, Any]],
    *,
    kind: TaskKind[..., Any] = KIND,
    claimed: tuple[int, ...] = (),
    offset: float = 0,
    complete: bool = True,
) -> list[Found]:
    """Return what the list shows."""
    ids = {f"{n:024x}" for n in claimed}
    return match(kind, starts, rows, claimed=ids, offset=offset, complete=complete)


def numbers(found: Found) -> list[int]:
    """Return the records' numbers."""
    return [int(raw["_id"], 16) for raw in found.records]


def test_a_mark_finds_its_record() -> None:
    """Whatever else is in the list, whenever it was made, and behind a user's name, too."""
    rows = [row(1, OTHER_MARK), row(2, at=9999), row(3, "talk"), row(4, None)]
    assert look([lost()], rows) == [Found((rows[1],), sure=True)]
    rows[1]["name"] = f"talk {MARK}"
    assert look([lost(f"talk {MARK}")], rows)[0].sure


def test_exactly_as_many() -> None:
    """One start that makes two tasks is found when there are two, not one and not three."""
    start = lost(expected=2)
    assert not look([start], [row(1)])[0].sure
    assert numbers(look([start], [row(1), row(2)])[0]) == [1, 2]
    three = look([start], [row(1), row(2), row(3)])[0]
    assert (three.sure, numbers(three)) == (False, [1, 2, 3])


def test_a_users_name_needs_inputs_and_time() -> None:
    """Name, repeated inputs and time must all fit; else a record is a candidate at most."""
    start = lost("talk", None)
    good = row(1, "talk", prompt="a lake", image_url="https://m.example/a.png?Signature=2")
    assert look([start], [good])[0].sure
    for wrong in (
        {"name": "Talk"},
        {"prompt": "a river"},
        {"image_url": "https://m.example/b.png"},
        {"n": 3},
        {"createdAt": (NOW - timedelta(seconds=31)).isoformat()},
        {"createdAt": (NOW + timedelta(seconds=41)).isoformat()},
    ):
        assert look([start], [good | wrong])[0] == Found((good | wrong,)), wrong
    for other in ({"name": "walk", "prompt": "a river"}, {"name": OTHER_MARK}):
        assert look([start], [good | other])[0] == Found(absent=True), other
    day = timedelta(days=2)
    for made in (NOW - day, NOW + day):
        late = good | {
            "createdAt": made.isoformat(),
            "_id": f"{int(made.timestamp()):08x}" + 16 * "0",
        }
        assert look([start], [late])[0] == Found(absent=True), made
    # What the record does not show speaks neither for nor against it.
    for unshown in ({"prompt": ""}, {"prompt": None}, {"n": 2}, {"createdAt": None, "_id": "x"}):
        assert look([start], [good | unshown])[0].sure, unshown


def test_the_services_clock() -> None:
    """Times are compared by the service's clock."""
    start, hour = lost("talk", None), 3600.0
    assert look([start], [row(1, "talk", at=5 + hour)], offset=hour)[0].sure
    assert not look([start], [row(1, "talk", at=5)], offset=hour)[0].sure


def test_claimed_records_belong_to_others() -> None:
    """What another start is known to have made is never adopted."""
    start = lost("talk", None)
    assert not look([start], [row(1, "talk")], claimed=(1,))[0].records
    assert numbers(look([start], [row(1, "talk"), row(2, "talk")], claimed=(1,))[0]) == [2]


def test_equal_starts_share_what_there_is() -> None:
    """Starts that nothing tells apart are found together or not at all, in their order."""
    first = lost("talk", None)
    second = evolve(first, sent_at=NOW + timedelta(seconds=1))
    rows = [row(2, "talk", at=6), row(1, "talk", at=5)]
    found = look([second, first], rows)
    assert [numbers(f) for f in found] == [[2], [1]]
    assert all(f.sure for f in found)
    assert [f.sure for f in look([second, first], rows[:1])] == [False, False]


def test_without_a_name_there_are_only_candidates() -> None:
    """Somebody else may have started the same: nothing is adopted on a guess."""
    found = look([lost(None, None)], [row(1, None, prompt="a lake")], kind=NAMELESS)[0]
    assert (found.sure, numbers(found)) == (False, [1])


@pytest.mark.parametrize(("complete", "absent"), [(True, True), (False, False)])
def test_absence(complete: bool, absent: bool) -> None:
    """It is concluded only from a list that was read far enough and repeats names."""
    assert look([lost()], [row(1, OTHER_MARK)], complete=complete)[0].absent is absent
    assert not look([lost(expected=2)], [row(1)], complete=complete)[0].absent


def test_names_that_are_repeated() -> None:
    """A mark anywhere in the list shows that the service repeats names."""
    assert repeats_names(KIND, [row(1, "talk"), row(2, f"x {OTHER_MARK}")])
    assert not repeats_names(KIND, [row(1, "talk"), row(2, None)])
    assert not repeats_names(NAMELESS, [row(1, OTHER_MARK)])


NAMES = st.sampled_from(["talk", "walk", MARK, OTHER_MARK, None])


@given(
    names=st.lists(st.tuples(NAMES, st.integers(1, 3), st.integers(0, 50)), max_size=6),
    rows=st.lists(st.tuples(NAMES, st.integers(-100, 200)), max_size=8),
    claimed=st.sets(st.integers(0, 7)),
)
def test_no_record_is_adopted_twice(names: Any, rows: Any, claimed: set[int]) -> None:
    """Whatever is lost and listed: adopted records are unclaimed, distinct, and as many as due."""
    starts = [
        lost(
            name,
            name if name and name.startswith("a2e-") else None,
            expected=expected,
            sent_at=NOW + timedelta(seconds=delay),
        )
        for name, expected, delay in names
    ]
    # Two starts never carry one mark.
    marked = [s.mark for s in starts if s.mark]
    if len(marked) != len(set(marked)):
        return
    listed = [row(n, name, at=at) for n, (name, at) in enumerate(rows)]
    found = look(starts, listed, claimed=tuple(claimed))
    adopted = [n for f in found if f.sure for n in numbers(f)]
    assert len(adopted) == len(set(adopted))
    assert not claimed & set(adopted)
    for start, f in zip(starts, found, strict=True):
        assert not f.sure or len(f.records) == start.expected
        assert not (f.sure and f.absent)


@pytest.mark.parametrize(
    ("age", "wait"),
    [(1.0, 180.0), (181.0, 180.0), (779.0, 180.0), (780.0, 0.0), (1e6, 0.0), (-86400.0, 180.0)],
)
def test_absence_proves_nothing_by_clocks_that_are_apart(age: float, wait: float) -> None:
    """A start of another process is waited for in full, unless it is old by any clock."""
    assert wait_for_absence(age) == wait
