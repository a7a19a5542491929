"""A record decodes its fields when they are first read, and nothing else shows the difference."""

import copy
import gc
import pickle
import random
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any

import attrs
import cattrs
import pytest
from attrs import asdict, define, evolve, field, fields, frozen

from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import (
    fingerprint,
    read_id,
    read_record,
    read_record_on_demand,
)
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Record, Status, WireName, merge_records

from .test_any_answer import KINDS, NAMES, ODD

ID = "66ea4dd87db10c73fa29b570"
SIGNED = "https://results.example/a.mp4?X-Amz-Signature=abc123"
RAW: dict[str, Any] = {
    "_id": ID,
    "name": "talk a2e-0123456789abcdefghij",
    "current_status": "completed",
    "coins": 13,
    "createdAt": "2026-01-12T09:04:10.026Z",
    "result_url": SIGNED,
    "audio_url": SIGNED,
    "prompt": f"see {SIGNED}",
    "duration": 5,
    "notes": [SIGNED],
}
TALKING = kind_named("talking_video")


def read(raw: dict[str, Any] | None = None, record: type[Record] | None = None) -> Any:
    """Return a record whose fields were not read yet."""
    kind: TaskKind[..., Any] = TALKING if record is None else evolve(TALKING, record=record)
    return read_record_on_demand(kind, RAW if raw is None else raw)


def constructed(record: Record) -> Any:
    """Return an equal record from the class's own constructor."""
    values = {a.alias: getattr(record, a.name) for a in fields(type(record))}
    return type(record)(**values)


def waits(record: Record) -> bool:
    """Return whether the record has fields to decode."""
    return callable(getattr(record, "_complete", None))


WAYS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "rich": lambda r: list(r.__rich_repr__()),
    "asdict": asdict,
    "astuple": attrs.astuple,
    "cattrs": cattrs.unstructure,
    "evolve": lambda r: evolve(r, coins=1),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda r: pickle.loads(pickle.dumps(r)),
    "state": lambda r: r.__getstate__(),
    "fields": lambda r: [getattr(r, a.name) for a in fields(type(r))],
    "output": lambda r: r.output,
    "parts": lambda r: len(r.parts),
    "dir": dir,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_use_gives_what_a_constructed_record_gives(way: str) -> None:
    """As the first use of a record, and as a later one."""
    expected = WAYS[way](constructed(read()))
    record = read()
    assert waits(record)
    assert WAYS[way](record) == expected
    assert WAYS[way](record) == expected


@pytest.mark.parametrize("name", kind_names())
def test_every_kind_decodes_on_demand(name: str) -> None:
    """The package's own record classes do nothing else in their constructors."""
    kind = kind_named(name)
    raw = {"_id": ID, kind.statuses.field: "processing"}
    record = read_record_on_demand(kind, raw)
    assert waits(record)
    assert record.status is Status.RUNNING
    assert waits(record)
    assert record == read_record(kind, raw)


def test_any_response_gives_the_same_record() -> None:
    """Seeded: with any value under any name."""
    rng = random.Random(20260102)
    for n in range(5_000):
        kind = KINDS[n % len(KINDS)]
        names = NAMES[kind.name]
        raw = {"_id": ID} | {name: rng.choice(ODD) for name in rng.sample(names, 7)}
        if read_id(raw) is None:
            continue
        record, other = read_record_on_demand(kind, raw), read_record(kind, raw)
        assert (record.id, record.status, record.raw_status) == (
            other.id,
            other.status,
            other.raw_status,
        )
        assert repr(asdict(record)) == repr(asdict(other))  # NaN differs from itself


def test_records_are_compared_by_their_fields() -> None:
    """Whichever of the two was used before; neither can be hashed."""
    assert read() == read()
    assert read() == constructed(read())
    assert constructed(read()) == read()
    assert read() != read(RAW | {"prompt": "x"})
    assert read() != read(RAW | {"current_status": "processing"})
    assert read(RAW | {"notes": 1}) == read()  # `extra` does not count
    with pytest.raises(TypeError, match="unhashable"):
        hash(read())


def test_a_copy_has_nothing_left_to_decode() -> None:
    """The original's response is not copied."""
    for made in (copy.copy(read()), copy.deepcopy(read()), pickle.loads(pickle.dumps(read()))):
        assert not waits(made)
        assert made == read()
        assert made.outputs == read().outputs


def test_a_value_that_was_set_stays() -> None:
    """Also if it was set before anything was read."""
    record = read()
    record.prompt = "mine"
    record.status = Status.QUEUED
    assert record.duration == 5
    assert (record.prompt, record.status) == ("mine", Status.QUEUED)
    assert evolve(record).prompt == "mine"
    other = read()
    other.extra["mine"] = 1
    assert other.extra["mine"] == 1


def test_a_field_is_always_the_same_object() -> None:
    """As of a record that was decoded at once."""
    record = read()
    assert record.outputs[0] is record.output
    assert record.extra is record.extra


def test_unknown_attributes_raise_the_usual_error() -> None:
    """For records of a response and for others."""
    for record in (read(), constructed(read()), Record(id=ID)):
        text = f"'{type(record).__name__}' object has no attribute 'colour'"
        with pytest.raises(AttributeError, match=text):
            _ = record.colour
        assert not hasattr(record, "colour")
        assert not hasattr(record, "__wrapped__")
    empty = Record.__new__(Record)
    with pytest.raises(AttributeError, match="no attribute 'id'"):
        _ = empty.id


def test_parts_are_merged_from_undecoded_records() -> None:
    """The merged record and its parts are complete."""
    ids = ("a" * 24, "b" * 24)
    merged = merge_records(tuple(read(RAW | {"_id": id}) for id in ids))
    assert (merged.id, merged.coins, len(merged.outputs)) == ("+".join(ids), 26, 2)
    assert [part.id for part in merged.parts] == list(ids)


def test_undecoded_text_is_in_no_attribute() -> None:
    """What was not searched for secrets yet cannot be reached by tools that walk attributes."""
    record = read(RAW | {"current_status": "processing"})
    slots = {name for cls in type(record).__mro__ for name in cls.__dict__.get("__slots__", ())}
    held = object.__getattribute__(record, "_complete")
    for value in (held, held.__dict__, held.__defaults__, held.__kwdefaults__):
        assert "abc123" not in repr(value)
    assert "abc123" not in repr([getattr(record, n, None) for n in slots - {"__weakref__"}])
    assert b"abc123" not in pickle.dumps(read())
    assert record.audio_url.signed == SIGNED
    assert "abc123" not in f"{asdict(record)}"


def test_values_of_any_type_hide_signatures() -> None:
    """As texts do: also within a list or an object, and if the field has several names."""

    @define(kw_only=True)
    class Loose(Record):
        shape: Any = None
        box: Annotated[Any, WireName("box", ("rect",))] = None

    record = read(RAW | {"shape": [SIGNED, {"url": SIGNED}], "rect": {"url": SIGNED}}, Loose)
    assert "abc123" not in f"{asdict(record)}"
    assert b"abc123" not in pickle.dumps((record.shape, record.box))
    assert record.shape[1]["url"].signed == SIGNED
    assert record.box["url"].signed == SIGNED


def test_null_means_the_default() -> None:
    """Also for a field whose default is not None."""

    @define(kw_only=True)
    class Defaults(Record):
        prompt: str = "none"
        size: float = 1.0
        notes: tuple[str, ...] = ()
        urls: dict[str, str] = field(factory=dict)

    raw = {"_id": ID} | dict.fromkeys(("prompt", "size", "notes", "urls", "coins", "createdAt"))
    record = read(raw, Defaults)
    assert (record.prompt, record.size, record.notes, record.urls) == ("none", 1.0, (), {})
    assert (record.coins, record.created_at, record.extra) == (None, None, {})


def test_a_decoded_record_lets_its_response_go() -> None:
    """Only the fields stay in memory."""

    class Response(dict[str, Any]):
        pass

    record = read(Response(RAW))
    (response,) = (found for found in gc.get_objects() if isinstance(found, Response))
    gone = weakref.ref(response)
    del response
    assert gone() is not None
    assert record.prompt
    gc.collect()
    assert gone() is None
    assert not waits(record)


def test_threads_may_read_a_record_at_once() -> None:
    """Each sees every field."""
    record = read()
    seen: list[Any] = []
    start = threading.Barrier(8)

    def look() -> None:
        start.wait()
        seen.append((record.prompt, record.outputs, record.extra))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(record.prompt, record.outputs, record.extra)] * 8


# -- classes of users ------------------------------------------------------------------------------


@frozen(kw_only=True)
class Frozen(Record):
    prompt: str | None = None


@define(kw_only=True, slots=False)
class WithDict(Record):
    prompt: str | None = None


class Undecorated(Record):
    pass


@define(kw_only=True)
class Factories(Record):
    prompt: str | None = None
    notes: tuple[str, ...] = field(factory=tuple)


@pytest.mark.parametrize("cls", [Frozen, WithDict, Undecorated, Factories])
def test_plain_classes_decode_on_demand(cls: type[Record]) -> None:
    """Frozen ones, ones without slots, and ones that attrs did not make."""
    record = read(record=cls)
    assert waits(record)
    assert record == constructed(read(record=cls))
    assert repr(record).startswith(f"<{cls.__name__} {ID} succeeded")
    assert type(record) is cls


def test_a_property_that_fails_says_so_itself() -> None:
    """Its AttributeError is not taken for a missing field."""

    @define(kw_only=True)
    class Faulty(Record):
        @property
        def colour(self) -> Any:
            return self.id.colour  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'str' object has no attribute 'colour'"):
        _ = read(record=Faulty).colour


def _refuse(*_: Any) -> None:
    raise ValueError("refused")


@define(kw_only=True)
class Validated(Record):
    prompt: str | None = field(default=None, validator=_refuse)


@define(kw_only=True)
class Converted(Record):
    prompt: str | None = field(default=None, converter=_refuse)


@define(kw_only=True)
class Completed(Record):
    def __attrs_post_init__(self) -> None:
        _refuse()


@define(kw_only=True)
class Prepared(Record):
    def __attrs_pre_init__(self) -> None:
        _refuse()


@define(kw_only=True, init=False)
class OwnInit(Record):
    def __init__(self, **_: Any) -> None:
        _refuse()


class OwnInitUndecorated(Record):
    def __init__(self, **_: Any) -> None:
        _refuse()


@define(kw_only=True)
class Derived(Record):
    prompt: str | None = None
    double: str | None = field()

    @double.default
    def _double(self) -> str | None:
        _refuse()
        return None


@pytest.mark.parametrize(
    "cls", [Validated, Converted, Completed, Prepared, OwnInit, OwnInitUndecorated, Derived]
)
def test_a_constructor_that_may_fail_is_called_at_once(cls: type[Record]) -> None:
    """So the error is that of the call that read the response."""
    with pytest.raises(ValueError, match="refused"):
        read(record=cls)


def test_a_missing_field_without_default_is_an_error_at_once() -> None:
    """As is a field that the constructor does not take."""

    @define(kw_only=True)
    class Demanding(Record):
        colour: str

    @define(kw_only=True)
    class Renamed(Record):
        prompt: str | None = field(default=None, alias="text")

    with pytest.raises(TypeError, match="colour"):
        read(record=Demanding)
    assert read(RAW | {"colour": "red"}, record=Demanding).colour == "red"
    with pytest.raises(TypeError, match="prompt"):
        read(record=Renamed)


def test_cached_properties_work() -> None:
    """attrs gives such classes a `__getattr__` of their own."""

    @define(kw_only=True)
    class Cached(Record):
        prompt: str | None = None

        @cached_property
        def words(self) -> list[str]:
            return (self.prompt or "").split()

    record = read(record=Cached)
    assert record.words[0] == "see"
    assert record.words is record.words


# -- fingerprints ----------------------------------------------------------------------------------


def test_equal_responses_have_equal_fingerprints() -> None:
    """Whatever made their texts."""
    again = {"".join(name): value for name, value in RAW.items()}
    again["prompt"] = "".join(["see ", *SIGNED])
    assert fingerprint(again) == fingerprint(RAW) == fingerprint(copy.deepcopy(RAW))
    assert fingerprint(None) == fingerprint(None)


@pytest.mark.parametrize("value", [1, True, 1.0, "1", [1], [True], {"1": 1}, None, "", 2**70])
def test_other_values_have_other_fingerprints(value: Any) -> None:
    """Also where Python calls them equal."""
    others: list[Any] = [1, True, 1.0, "1", [1], [True], {"1": 1}, None, "", 2**70]
    found = [fingerprint(RAW | {"x": other}) == fingerprint(RAW | {"x": value}) for other in others]
    assert sum(found) == 1
