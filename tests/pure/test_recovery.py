"""Which records of a list are adopted for a start without a response."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.journal.rules import MAX_TIME_IN_FLIGHT, is_same_start
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.submission.recovery_match import (
    MAX_RECORD_TIME_ERROR,
    TIME_TOLERANCE,
    CompetingStart,
    SearchResult,
    _compare_name,
    _NameMatch,
    _possible_sent_values,
    body_digests,
    earliest_creation,
    has_mark,
    latest_creation,
    match_starts,
    record_created_at,
    seconds_until_absence_counts,
    shows_marks,
)
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async.models import Record, Recovery

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MARK = "a2e-" + "0123456789abcdefghij"
OTHER_MARK = "a2e-" + "9" * 20
BODY = {"prompt": "a lake", "image_url": "https://m.example/a.png?Signature=1", "n": 2}

KIND: TaskKind[..., Any] = TaskKind(
    name="any",
    input=TaskInput,
    record=Record,
    start=Endpoint("POST", "/start"),
    list=Endpoint("GET", "/list"),
)
NAMELESS = evolve(KIND, name_field=None)


def lost(name: str | None = MARK, mark: str | None = MARK, **values: Any) -> Recovery:
    """Return a start to recover; in flight from NOW for ten seconds."""
    given = {
        "kind": "any",
        "path": "/start",
        "digest": "d",
        "sent_at": NOW,
        "lost_at": NOW + timedelta(seconds=10),
        "echo": body_digests(BODY),
    }
    return Recovery(name=name, mark=mark, **{**given, **values})


def row(n: int, name: str | None = MARK, *, at: float = 5, **values: Any) -> dict[str, Any]:
    """Return a record made so many seconds after NOW."""
    made = (NOW + timedelta(seconds=at)).isoformat()
    return {"_id": f"{n:024x}", "name": name, "createdAt": made, **values}


def match_rows(
    starts: list[Recovery],
    rows: list[dict[str, Any]],
    *,
    kind: TaskKind[..., Any] = KIND,
    claimed: tuple[int, ...] = (),
    offset: float = 0,
    complete: bool = True,
    rivals: tuple[CompetingStart, ...] = (),
) -> list[SearchResult]:
    """Return what the list shows."""
    ids = {f"{n:024x}" for n in claimed}
    return match_starts(
        kind,
        starts,
        rows,
        claimed=ids,
        clock_offset=offset,
        reached_back=complete,
        competing=rivals,
    )


def numbers(found: SearchResult) -> list[int]:
    """Return the records' numbers."""
    return [int(raw["_id"], 16) for raw in found.records]


def test_a_mark_finds_its_record() -> None:
    """A marked record is adopted, whatever else is listed and whenever it was created."""
    rows = [row(1, OTHER_MARK), row(2, at=9999), row(3, "talk"), row(4, None)]
    assert match_rows([lost()], rows) == [SearchResult((rows[1],), is_certain=True)]
    rows[1]["name"] = f"talk {MARK}"
    assert match_rows([lost(f"talk {MARK}")], rows)[0].is_certain


def test_exactly_as_many() -> None:
    """One start that makes two tasks is found when there are two, not one and not three."""
    start = lost(expected=2)
    assert not match_rows([start], [row(1)])[0].is_certain
    assert numbers(match_rows([start], [row(1), row(2)])[0]) == [1, 2]
    three = match_rows([start], [row(1), row(2), row(3)])[0]
    assert (three.is_certain, numbers(three)) == (False, [1, 2, 3])


def test_a_users_name_needs_inputs_and_time() -> None:
    """Name, repeated inputs and time must all fit; else a record is a candidate at most."""
    start = lost("talk", None)
    good = row(1, "talk", prompt="a lake", image_url="https://m.example/a.png?Signature=2")
    assert match_rows([start], [good])[0].is_certain
    for wrong in (
        {"name": "Talk"},
        {"prompt": "a river"},
        {"image_url": "https://m.example/b.png"},
        {"n": 3},
        {"createdAt": (NOW - timedelta(seconds=31)).isoformat()},
        {"createdAt": (NOW + timedelta(seconds=41)).isoformat()},
    ):
        assert match_rows([start], [good | wrong])[0] == SearchResult((good | wrong,)), wrong
    for other in ({"name": "walk", "prompt": "a river"}, {"name": OTHER_MARK}):
        assert match_rows([start], [good | other])[0] == SearchResult(is_absent=True), other
    day = timedelta(days=2)
    for made in (NOW - day, NOW + day):
        late = good | {
            "createdAt": made.isoformat(),
            "_id": f"{int(made.timestamp()):08x}" + 16 * "0",
        }
        assert match_rows([start], [late])[0] == SearchResult(is_absent=True), made
    # Inputs missing in the record neither confirm nor exclude it.
    for unshown in ({"prompt": ""}, {"prompt": None}, {"n": 2}, {"createdAt": None, "_id": "x"}):
        assert match_rows([start], [good | unshown])[0].is_certain, unshown


def test_the_services_clock() -> None:
    """Times are compared by the service's clock."""
    start, hour = lost("talk", None), 3600.0
    assert match_rows([start], [row(1, "talk", at=5 + hour)], offset=hour)[0].is_certain
    assert not match_rows([start], [row(1, "talk", at=5)], offset=hour)[0].is_certain


def test_claimed_records_belong_to_others() -> None:
    """A task known to belong to another start is never adopted."""
    start = lost("talk", None)
    assert not match_rows([start], [row(1, "talk")], claimed=(1,))[0].records
    assert numbers(match_rows([start], [row(1, "talk"), row(2, "talk")], claimed=(1,))[0]) == [2]


def test_equal_starts_share_what_there_is() -> None:
    """Indistinguishable starts are recovered together, in their order, or not at all."""
    first = lost("talk", None)
    second = evolve(first, sent_at=NOW + timedelta(seconds=1))
    rows = [row(2, "talk", at=6), row(1, "talk", at=5)]
    found = match_rows([second, first], rows)
    assert [numbers(f) for f in found] == [[2], [1]]
    assert all(f.is_certain for f in found)
    assert [f.is_certain for f in match_rows([second, first], rows[:1])] == [False, False]


def test_without_a_name_there_are_only_candidates() -> None:
    """Another client may have started the same job: nothing is adopted on a guess."""
    found = match_rows([lost(None, None)], [row(1, None, prompt="a lake")], kind=NAMELESS)[0]
    assert (found.is_certain, numbers(found)) == (False, [1])


@pytest.mark.parametrize(("complete", "absent"), [(True, True), (False, False)])
def test_absence(complete: bool, absent: bool) -> None:
    """Absence is concluded only from a list that was read far enough and echoes names."""
    assert match_rows([lost()], [row(1, OTHER_MARK)], complete=complete)[0].is_absent is absent
    assert not match_rows([lost(expected=2)], [row(1)], complete=complete)[0].is_absent


def test_names_that_are_repeated() -> None:
    """A mark anywhere in the list shows that the service echoes names."""
    assert shows_marks(KIND, [row(1, "talk"), row(2, f"x {OTHER_MARK}")])
    assert not shows_marks(KIND, [row(1, "talk"), row(2, None)])
    assert not shows_marks(NAMELESS, [row(1, OTHER_MARK)])


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
    found = match_rows(starts, listed, claimed=tuple(claimed))
    adopted = [n for f in found if f.is_certain for n in numbers(f)]
    assert len(adopted) == len(set(adopted))
    assert not claimed & set(adopted)
    for start, f in zip(starts, found, strict=True):
        assert not f.is_certain or len(f.records) == start.expected
        assert not (f.is_certain and f.is_absent)


@pytest.mark.parametrize(
    ("age", "wait"),
    [(1.0, 180.0), (181.0, 180.0), (779.0, 180.0), (780.0, 0.0), (1e6, 0.0), (-86400.0, 180.0)],
)
def test_absence_proves_nothing_by_clocks_that_are_apart(age: float, wait: float) -> None:
    """A start of another process is waited for in full, unless it is old by any clock."""
    assert seconds_until_absence_counts(age) == wait
    assert seconds_until_absence_counts(age, 60.0) == (0.0 if age >= 660.0 else 60.0)


# -- times -------------------------------------------------------------------------------------


def test_the_time_in_which_a_start_was_under_way() -> None:
    """From its first moment to when hope was given up; long, where a process died."""
    first, second = lost(), lost(sent_at=NOW + timedelta(seconds=7), lost_at=None)
    at = NOW.timestamp()
    assert earliest_creation([second, first], 100) == at + 100 - TIME_TOLERANCE
    assert earliest_creation([second], -100) == at + 7 - 100 - TIME_TOLERANCE
    assert latest_creation(first, 100) == at + 10 + 100 + TIME_TOLERANCE
    assert latest_creation(second, 100) == at + 7 + 100 + MAX_TIME_IN_FLIGHT


def test_when_a_record_was_made() -> None:
    """By its own word, else by its id."""
    id = f"{int(NOW.timestamp()):08x}" + 16 * "0"
    assert (
        record_created_at({"_id": id, "createdAt": "2026-03-01T13:00:00Z"})
        == NOW.timestamp() + 3600
    )
    for odd in (None, "soon", [], 10**400, True):
        assert record_created_at({"_id": id, "createdAt": odd}) == NOW.timestamp()
    assert record_created_at({"_id": id}) == NOW.timestamp()
    assert record_created_at({"_id": "x"}) is None
    assert record_created_at({}) is None


def test_a_name_is_adopted_up_to_the_ends_of_its_time() -> None:
    start = lost("talk", None)
    for at, sure in ((-30, True), (-30.1, False), (40, True), (40.1, False)):
        assert match_rows([start], [row(1, "talk", at=at)])[0].is_certain is sure, at
    dead = lost("talk", None, lost_at=None)
    for at, sure in ((600, True), (600.1, False)):
        assert match_rows([dead], [row(1, "talk", at=at)])[0].is_certain is sure, at


def test_what_is_passed_on_late_makes_a_name_ambiguous() -> None:
    """A gateway may have held a start: then two records are those of one or of two starts."""
    start = lost("talk", None)
    for late, sure in ((640, False), (640.1, True), (-30, False), (-30.1, True)):
        found = match_rows([start], [row(1, "talk"), row(2, "talk", at=late)])[0]
        assert found.is_certain is sure, late
        assert sorted(numbers(found)) == ([1] if sure else [1, 2])


@pytest.mark.parametrize("name", ["talk", "TALK!"])
def test_candidates_may_be_a_day_off(name: str) -> None:
    """As by a time zone; by the record's time or by that of its id."""
    start = lost("talk", None, expected=2)
    for at in (-30 - MAX_RECORD_TIME_ERROR, 40 + MAX_TIME_IN_FLIGHT + MAX_RECORD_TIME_ERROR):
        assert numbers(match_rows([start], [row(1, name, at=at)])[0]) == [1]
        far = row(1, name, at=at + (-1 if at < 0 else 1))
        assert match_rows([start], [far])[0] == SearchResult(is_absent=True)
        far["_id"] = f"{int(NOW.timestamp()):08x}" + 16 * "0"
        assert match_rows([start], [far])[0] == SearchResult((far,))


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "shown", "name"),
    [
        ("talk", "talk", _NameMatch.SAME),
        *(
            ("talk 1", other, _NameMatch.ALTERED)
            for other in ("Talk 1", "talk1", " talk 1 ", "talk-1")
        ),
        ("Größe ✓", "GRÖSSE", _NameMatch.ALTERED),
        ("Größe ✓", "große", _NameMatch.ALTERED),
        ("a & b", "a &amp; b", _NameMatch.ALTERED),
        ("a é b", "a%20%C3%A9%20b", _NameMatch.ALTERED),
        *(("a talk", cut, _NameMatch.TRUNCATED) for cut in ("a", "A", "a tal", "at…")),
        *(("talk", other, _NameMatch.DIFFERENT) for other in ("alk", "talks", "✓", "walk", "!")),
        *(("talk", none, _NameMatch.NOT_SHOWN) for none in ("", "  ", None, 5, ["talk"])),
        ("", "talk", _NameMatch.DIFFERENT),
        (None, "talk", _NameMatch.DIFFERENT),
        *(
            ("talk", foreign, _NameMatch.OTHER_MARK)
            for foreign in (OTHER_MARK, f"talk {OTHER_MARK} x")
        ),
        ("talk", f"talk {OTHER_MARK.upper()}", _NameMatch.OTHER_MARK),
    ],
)
def test_names_are_compared(sent: str | None, shown: Any, name: _NameMatch) -> None:
    start = lost(sent, None)
    assert _compare_name(KIND, start, row(1, shown)) is name
    assert _compare_name(NAMELESS, start, row(1, shown)) is _NameMatch.NOT_SHOWN


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (MARK, _NameMatch.SAME),
        (MARK.upper(), _NameMatch.SAME),
        (f"talk {MARK}", _NameMatch.SAME),
        (f"x{MARK}x", _NameMatch.SAME),
        (f"talk {OTHER_MARK}", _NameMatch.OTHER_MARK),
        ("talk", _NameMatch.TRUNCATED),
        (f"talk {MARK[:-1]}", _NameMatch.TRUNCATED),
        (f"talk {MARK[4:]}", _NameMatch.DIFFERENT),
        (f"talk {MARK.replace('-', ' ')}", _NameMatch.ALTERED),
    ],
)
def test_names_are_compared_by_their_mark(shown: str, name: _NameMatch) -> None:
    assert _compare_name(KIND, lost(f"talk {MARK}"), row(1, shown)) is name


def test_a_name_that_lost_nothing_but_the_mark_is_not_the_same() -> None:
    """The mark is what tells one start from another."""
    assert _compare_name(KIND, lost("talk"), row(1, "talk")) is _NameMatch.ALTERED


def test_marks_are_found_in_names() -> None:
    assert has_mark(KIND, row(1, f"x {MARK.upper()}."), MARK)
    assert not has_mark(KIND, row(1, OTHER_MARK), MARK)
    assert not has_mark(NAMELESS, row(1, MARK), MARK)
    assert not shows_marks(KIND, [row(1, f"{MARK} x"), row(2, MARK.upper()), row(3, MARK[1:])])
    assert shows_marks(KIND, [row(1, None), row(2, MARK)])


def test_a_mark_finds_its_records_whatever_became_of_the_name() -> None:
    rows = [row(1, f"X {MARK.upper()} …"), row(2, OTHER_MARK.upper())]
    found = match_rows([lost(), lost(OTHER_MARK, OTHER_MARK)], rows)
    assert [(f.is_certain, numbers(f)) for f in found] == [(True, [1]), (True, [2])]
    found = match_rows([lost()], [row(1, f"{MARK} {OTHER_MARK}")])
    assert found[0].is_certain


def test_one_mark_under_two_starts_finds_neither() -> None:
    found = match_rows([lost(), lost()], [row(1)])
    assert [(f.is_certain, numbers(f)) for f in found] == [(False, [1]), (False, [1])]


def test_a_kind_without_names_has_no_marks() -> None:
    """What is called name there is none."""
    assert not match_rows([lost()], [row(1)], kind=NAMELESS)[0].is_certain
    assert not match_rows([lost("talk", None)], [row(1, "talk")], kind=NAMELESS)[0].is_certain


def test_tasks_of_one_start_are_in_the_order_of_their_time() -> None:
    rows = [row(3, at=5), row(1, at=6), row(2, at=5), row(4, at=-1)]
    assert numbers(match_rows([lost(expected=4)], rows)[0]) == [4, 2, 3, 1]
    rows = [row(n, "talk", at=at) for n, at in ((3, 5), (1, 6), (2, 5), (4, -1))]
    found = match_rows([lost("talk", None, expected=4)], rows)[0]
    assert (found.is_certain, numbers(found)) == (True, [4, 2, 3, 1])


# -- who else could have made a record ---------------------------------------------------------


def rival(name: str | None = "talk", mark: str | None = None, **values: Any) -> CompetingStart:
    """Return another start of the kind that has no task yet."""
    in_flight = values.pop("in_flight", False)
    return CompetingStart(lost(name, mark, **values), in_flight=in_flight)


def test_an_equal_start_shares_what_there_is() -> None:
    start = lost("talk", None)
    rows = [row(1, "talk", at=4), row(2, "talk", at=5)]
    later = rival(sent_at=NOW + timedelta(seconds=1))
    earlier = rival(sent_at=NOW - timedelta(seconds=1))
    for other, number in ((later, 1), (earlier, 2)):
        found = match_rows([start], rows, rivals=(other,))
        assert [(f.is_certain, numbers(f)) for f in found] == [(True, [number])]
        assert not match_rows([start], rows[:1], rivals=(other,))[0].is_certain
        assert not match_rows([start], [*rows, row(3, "talk")], rivals=(other,))[0].is_certain


def test_what_may_be_a_rivals_stays_a_candidate() -> None:
    other = lost("walk", None)
    rows = [row(1, "talk", at=4, **SAME_INPUTS), row(2, "talk", at=5, **SAME_INPUTS)]
    found = match_rows([lost("talk", None), other], rows, rivals=(rival(),))
    assert [(f.is_certain, numbers(f)) for f in found] == [(True, [1]), (False, [2])]


def test_nothing_is_adopted_while_an_answer_may_name_it() -> None:
    start = lost("talk", None)
    rows = [row(1, "talk", at=4), row(2, "talk", at=5)]
    assert not match_rows([start], rows, rivals=(rival(in_flight=True),))[0].is_certain
    assert not match_rows([start], rows, rivals=(rival(), rival(in_flight=True)))[0].is_certain
    other = lost("walk", None)
    found = match_rows(
        [start, other], [row(1, "talk"), row(2, "walk")], rivals=(rival(in_flight=True),)
    )
    assert [f.is_certain for f in found] == [False, True]
    rivals = (rival("walk"), rival("sing", in_flight=True))
    assert match_rows([start], rows[:1], rivals=rivals)[0].is_certain


@pytest.mark.parametrize(
    "other",
    [
        rival("Talk"),
        rival("talk", digest="e"),
        rival(f"talk {MARK}", MARK),
        rival("talk", "a2e-" + "8" * 20),
        rival("talked"),
    ],
)
def test_a_start_that_may_have_made_the_record_makes_it_ambiguous(other: CompetingStart) -> None:
    """Its name may have been altered or cut: also where there are as many records as starts."""
    start = lost("talk", None)
    for rows in ([row(1, "talk")], [row(1, "talk"), row(2, "talk", at=6)]):
        assert not match_rows([start], rows, rivals=(other,))[0].is_certain
    later = evolve(other.recovery, sent_at=NOW + timedelta(hours=1), lost_at=None)
    assert match_rows([start], [row(1, "talk")], rivals=(CompetingStart(later, in_flight=True),))[
        0
    ].is_certain


def test_a_name_is_cut_only_where_no_longer_one_is_shown() -> None:
    """But for one character: a cut name may have lost a space at its end, too."""
    start, other = lost("talk", None), rival("talk of today", digest="e")
    for long, sure in (("talk5", False), ("talk56", True)):
        assert (
            match_rows([start], [row(1, "talk"), row(2, long)], rivals=(other,))[0].is_certain
            is sure
        )


def test_a_start_with_other_inputs_did_not_make_the_record() -> None:
    start, other = lost("talk", None), rival(echo=body_digests({"prompt": "a river"}), digest="e")
    assert match_rows([start], [row(1, "talk", prompt="a lake")], rivals=(other,))[0].is_certain
    assert not match_rows([start], [row(1, "talk")], rivals=(other,))[0].is_certain


def test_shares_follow_the_times_of_their_starts() -> None:
    """A record outside the time of the start whose turn it is proves that something is wrong."""
    first = lost("talk", None)
    second = evolve(first, sent_at=NOW + timedelta(seconds=300), lost_at=None)
    for at, sure in ((5, False), (270, True)):
        found = match_rows([first, second], [row(1, "talk", at=4), row(2, "talk", at=at)])
        assert [f.is_certain for f in found] == [sure, sure], at


def test_starts_are_joined_by_the_records_they_may_have_made() -> None:
    """Two records that one start joins are shared by all who could have made either."""
    one, two = lost("talk", None, digest="1"), lost("Talk", None, digest="2")
    rows = [row(1, "talk"), row(2, "Talk")]
    assert [f.is_certain for f in match_rows([one, two], rows)] == [False, False]
    far = lost("walk", None, digest="3")
    found = match_rows([one, far, two], [*rows, row(3, "walk")])
    assert [(f.is_certain, numbers(f)) for f in found] == [
        (False, [1, 2]),
        (True, [3]),
        (False, [2, 1]),
    ]
    three = [row(1, "talk", at=1), row(2, "walk", at=2), row(3, "talk", at=3)]
    found = match_rows([lost("talk", None, expected=2), lost("walk", None)], three)
    assert [(f.is_certain, numbers(f)) for f in found] == [(True, [1, 3]), (True, [2])]


def test_adopted_records_are_no_candidates_of_others() -> None:
    found = match_rows([lost(), lost("talk", None, expected=2)], [row(1), row(2, "talk")])
    assert [(f.is_certain, numbers(f)) for f in found] == [(True, [1]), (False, [2])]


# -- candidates --------------------------------------------------------------------------------

SAME_INPUTS = {"prompt": "a lake"}
OTHER_INPUTS = {"prompt": "a river"}
UNLIKE = {"image_url": "https://m.example/b.png"}
NEAR, FAR = 3600.0, 3 * 86400.0


@pytest.mark.parametrize(
    ("name", "at", "inputs", "good"),
    [
        *(("talk", at, inputs, at < FAR) for at in (5, NEAR, FAR) for inputs in ({}, OTHER_INPUTS)),
        *(("Talk", at, inputs, at < FAR) for at in (5, NEAR, FAR) for inputs in ({}, OTHER_INPUTS)),
        *(("tal", at, {}, at < FAR) for at in (5, NEAR, FAR)),
        ("tal", 5, SAME_INPUTS | UNLIKE, True),
        ("tal", NEAR, OTHER_INPUTS, False),
        ("tal", 5, OTHER_INPUTS, False),
        (None, 5, {}, True),
        (None, 5, OTHER_INPUTS, True),
        (None, NEAR, {}, False),
        (None, NEAR, SAME_INPUTS, True),
        (None, NEAR, SAME_INPUTS | UNLIKE, False),
        (None, FAR, SAME_INPUTS, False),
        ("walk", 5, SAME_INPUTS, True),
        ("walk", 5, {}, False),
        ("walk", 5, SAME_INPUTS | UNLIKE, False),
        ("walk", NEAR, SAME_INPUTS, False),
        (f"talk {OTHER_MARK}", 5, SAME_INPUTS, False),
    ],
)
def test_what_may_be_a_starts_record(
    name: str | None, at: float, inputs: dict[str, Any], good: bool
) -> None:
    start = lost("talk", None, expected=5)
    raw = row(1, name, at=at, **inputs)
    assert match_rows([start], [raw])[0] == SearchResult((raw,) if good else (), is_absent=not good)


def test_a_record_with_the_mark_is_a_candidate_whenever_it_was_made() -> None:
    assert numbers(match_rows([lost(expected=2)], [row(1, at=FAR)])[0]) == [1]
    assert numbers(match_rows([lost(f"talk {MARK}")], [row(1, "Talk", at=NEAR)])[0]) == [1]


def test_the_likeliest_candidates_come_first() -> None:
    """By name, then by inputs, by time, and the earliest."""
    start = lost("talk", None, expected=20)
    rows = [
        row(11, OTHER_MARK),
        row(10, "walk", **SAME_INPUTS),
        row(9, None, **OTHER_INPUTS | UNLIKE),
        row(8, None, **OTHER_INPUTS),
        row(7, "tal"),
        row(6, "Talk"),
        row(5, "talk", **OTHER_INPUTS),
        row(4, "talk", at=NEAR),
        row(3, "talk", at=8),
        row(2, "talk", at=7),
        row(1, "talk", at=7),
    ]
    assert numbers(match_rows([start], rows)[0]) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


# -- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        ("x", ["x", "x"]),
        ("5", ["5", 5, "5"]),
        (" True ", [" True ", True, "True"]),
        ("[1]", ["[1]", [1], "[1]"]),
        ("[" * 100_000, ["[" * 100_000] * 2),
        (True, [True, "true", 1]),
        (False, [False, "false", 0]),
        (1, [1, "1", True]),
        (0, [0, "0", False]),
        (5, [5, "5"]),
        (5.0, [5.0, "5.0", 5, "5"]),
        (1.0, [1.0, "1.0", True, 1, "1"]),
        (2.5, [2.5, "2.5"]),
        (None, [None]),
        ([1], [[1]]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_value_may_have_been_sent_in_other_forms(value: Any, forms: list[Any]) -> None:
    made = list(_possible_sent_values(value))
    assert [(type(form), form) for form in made] == [(type(form), form) for form in forms]


@pytest.mark.parametrize(
    ("sent", "shown", "alike"),
    [
        (5, "5", True),
        ("5", 5, True),
        (5, 5.0, True),
        (True, "True", True),
        (True, 1, True),
        ("a lake", " a lake ", True),
        ("a lake", "A lake", False),
        (5, 6, False),
        (["https://m.example/a?Signature=1", 5], ["https://m.example/a?Signature=2", 5], True),
        (("https://m.example/a?Signature=1",), ["https://m.example/a"], True),
        (["a", "b"], ["b", "a"], False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        (timedelta(1), "1 day, 0:00:00", True),
    ],
)
def test_inputs_are_compared(sent: Any, shown: Any, alike: bool) -> None:
    start = lost("talk", None, echo=body_digests({"x": sent}))
    assert match_rows([start], [row(1, "talk", x=shown)])[0].is_certain is alike
    start = lost(None, None, echo=body_digests({"x": sent}))
    assert bool(match_rows([start], [row(1, "walk", x=shown)])[0].records) is alike


@pytest.mark.parametrize("nothing", [None, "", []])
def test_inputs_that_a_record_does_not_show_say_nothing(nothing: Any) -> None:
    start = lost("talk", None, echo=body_digests({"x": nothing, "y": 5, "name": "other"}))
    assert match_rows([start], [row(1, "talk", x=nothing, y=5)])[0].is_certain
    assert not match_rows([lost(None, None, echo=start.echo)], [row(1, "walk", x=nothing)])[
        0
    ].records
    shows = row(1, "walk", x=nothing, y=5)
    assert match_rows([lost(None, None, echo=start.echo)], [shows])[0].records


def test_of_inputs_only_digests_are_kept() -> None:
    assert body_digests({}) == {}
    echo = body_digests({"a": "x", "b": ["x"], "c": 1})
    assert list(echo) == ["a", "b", "c"]
    assert all(len(digest) == 16 and int(digest, 16) for digest in echo.values())
    assert len(set(echo.values())) == 3


def test_one_start_is_known_again() -> None:
    """By all that names it; its times may have lost their last digits."""
    start = lost()
    for micro, same in ((0, True), (999, True), (-999, True), (1000, False), (-1000, False)):
        assert is_same_start(start, lost(sent_at=NOW + timedelta(microseconds=micro))) is same
    for other in ({"kind": "b"}, {"digest": "e"}, {"name": "x"}, {"mark": None}):
        assert not is_same_start(start, evolve(start, **other))
    assert is_same_start(start, evolve(start, path="/other", lost_at=None, echo={}))
