"""Unusual kinds: other status fields, completion fields, details in lists, no names, no pages."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pytest
from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    Range,
    SerializeAsString,
    TaskInput,
    WireName,
)
from a2e_async._core.tasks.kind import (
    Endpoint,
    OutputField,
    StatusVocabulary,
    TaskKind,
    check_pollable,
)
from a2e_async._core.tasks.parsing import read_record, unwrap_detail
from a2e_async.errors import InvalidInput
from a2e_async.models import Record, Status

ID = "66ea4dd87db10c73fa29b570"
OTHER = "66ea4dd87db10c73fa29b571"
URL = "https://results.example/a.png"


def kind(**values: Any) -> TaskKind[..., Any]:
    """Return a kind with these peculiarities."""
    given = {"name": "odd", "input": TaskInput, "record": Record}
    return TaskKind(**{**given, "start": Endpoint("POST", "/start"), **values})


# -- records -----------------------------------------------------------------------------------

VEO = kind(
    statuses=StatusVocabulary(field="state", fallback_fields=("current_status",)),
    detail=Endpoint("GET", "/d"),
)


@pytest.mark.parametrize(
    ("raw", "status", "word"),
    [
        ({"state": "completed"}, Status.SUCCEEDED, "completed"),
        ({"current_status": "completed"}, Status.SUCCEEDED, "completed"),
        ({"state": "", "current_status": "failed"}, Status.FAILED, "failed"),
        ({"state": None, "current_status": "failed"}, Status.FAILED, "failed"),
        ({"state": "processing", "current_status": "completed"}, Status.RUNNING, "processing"),
        ({"state": "odd", "current_status": "completed"}, Status.RUNNING, "odd"),
        ({}, Status.RUNNING, ""),
    ],
)
def test_a_second_status_field(raw: dict[str, Any], status: Status, word: str) -> None:
    """It counts where the first one holds no word, and never against it."""
    record = read_record(VEO, {"_id": ID, **raw})
    assert (record.status, record.raw_status) == (status, word)
    assert not record.extra


@pytest.mark.parametrize(
    ("word", "proof", "status"),
    [
        ("processing", "a1", Status.RUNNING),
        ("training", "a1", Status.RUNNING),
        ("initialized", "a1", Status.QUEUED),
        ("odd", "a1", Status.SUCCEEDED),
        ("", "a1", Status.SUCCEEDED),
        ("processing", "", Status.RUNNING),
        ("processing", None, Status.RUNNING),
        ("completed", None, Status.SUCCEEDED),
        ("failed", "a1", Status.FAILED),
    ],
)
def test_a_field_that_proves_the_end(word: str, proof: str | None, status: Status) -> None:
    """A value in it means success unless a recognised status says otherwise."""
    twin = kind(statuses=StatusVocabulary(completion_field="anchor_id"))
    record = read_record(twin, {"_id": ID, "current_status": word, "anchor_id": proof})
    assert record.status is status
    assert record.raw_status == word


def test_one_file_under_two_fields_counts_once() -> None:
    """Kinds with several result fields give each file once, in order."""
    tried = kind(
        outputs=(OutputField("result_image_url", "image"), OutputField("result_url", "image"))
    )
    raw = {"_id": ID, "result_image_url": URL, "result_url": [URL, f"{URL}?v=2"]}
    assert [o.url for o in read_record(tried, raw).outputs] == [URL, f"{URL}?v=2"]


def test_a_kind_without_a_name_keeps_the_field() -> None:
    """What is called name there is not the user's."""
    record = read_record(kind(name_field=None), {"_id": ID, "name": "x"})
    assert record.name is None
    assert record.extra == {"name": "x"}


def test_a_kind_without_files_says_where_its_result_is() -> None:
    """`output` points to it, before the end and after."""

    @define(kw_only=True)
    class Voice(Record):
        result_attribute: ClassVar[str] = "record.voice_id"

    for status in (Status.RUNNING, Status.SUCCEEDED):
        with pytest.raises(InvalidInput, match=r"makes no files.*record\.voice_id"):
            _ = Voice(id=ID, status=status).output


@pytest.mark.parametrize("value", [5, "x", [1], True, [["a", 1]]])
def test_an_odd_value_where_a_mapping_is_due(value: Any) -> None:
    """It costs nothing but the field: the value stays in `extra`."""

    @define(kw_only=True)
    class Placed(Record):
        place: Mapping[str, Any] | None = None

    record = read_record(kind(record=Placed), {"_id": ID, "place": value})
    assert record.place is None
    assert record.extra == {"place": value}


ROW = {"_id": ID, "current_status": "sent"}
ELSE = {"_id": OTHER, "current_status": "failed"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (ROW, ROW),
        ([ROW], ROW),
        ([ELSE, ROW], ROW),
        ({"rows": [ELSE, ROW], "count": 2}, ROW),
        ({"current_status": "sent"}, ROW),
        ([{"current_status": "sent"}], ROW),
        ({"data": [{"current_status": "sent"}]}, ROW),
        (ELSE, None),
        ([ELSE], None),
        ([], None),
        ({}, None),
        (None, None),
        ("sent", None),
        ({"message": "ok"}, None),
        ([{"current_status": "a"}, {"current_status": "b"}], None),
    ],
)
def test_the_record_of_a_detail(data: Any, found: Mapping[str, Any] | None) -> None:
    """It may be in a list or lack its id; another task's record is never used."""
    assert unwrap_detail(kind(), data, ID) == found


# -- what a kind can do ------------------------------------------------------------------------


def test_a_kind_without_status_operations_cannot_be_awaited() -> None:
    """Only a start: said clearly. Any other operation is enough."""
    with pytest.raises(InvalidInput, match="cannot wait for it"):
        check_pollable(kind())
    for name in ("detail", "batch_detail", "processing_list", "list"):
        check_pollable(kind(**{name: Endpoint("GET", "/x")}))


def test_an_unreliable_detail_operation_is_used_by_get_only() -> None:
    """Waits do not poll such a kind; it is still known."""
    flaky = kind(detail=Endpoint("GET", "/x"), unreliable_detail=True)
    assert flaky.poll_endpoint is None
    assert flaky.detail
    assert flaky.pollable


def test_a_list_without_pages_is_complete() -> None:
    """Then one call shows all, however many."""
    assert kind(paging=None).max_page_size > 10**9


# -- inputs ------------------------------------------------------------------------------------


@define(kw_only=True)
class OddInput(TaskInput):
    """Inputs like those of unusual kinds."""

    constant_fields: ClassVar[Mapping[str, Any]] = {"safe": False}

    pictures: Annotated[
        tuple[MediaInput, ...] | list[MediaInput] | None,
        WireName("imageUrls"),
        AcceptedMedia("image"),
        ItemCount(2, 3),
        FieldDoc("Pictures."),
    ] = None
    seconds: Annotated[int | None, Range(3, 15), SerializeAsString(), FieldDoc("Length.")] = None
    place: Annotated[Mapping[str, Any] | None, FieldDoc("Where.")] = None
    scenes: Annotated[list[Mapping[str, Any]] | None, FieldDoc("Scenes.")] = None


def sent(**values: Any) -> dict[str, Any]:
    """Return the body of a start."""
    inputs = OddInput(**values)
    return inputs.to_wire({(f.name, place): str(item) for f, place, item in inputs.media()})


def test_the_wire_has_its_own_ways() -> None:
    """Numbers as text, other names, nested values, and what is always sent."""
    body = sent(pictures=[URL, URL], seconds=5, place={"x": 1}, scenes=[{"prompt": "p"}])
    assert body == {
        "safe": False,
        "imageUrls": [URL, URL],
        "seconds": "5",
        "place": {"x": 1},
        "scenes": [{"prompt": "p"}],
    }
    assert sent() == {"safe": False}


def test_nested_values_are_copied() -> None:
    """What the caller does to them later changes nothing."""
    place = {"x": [1]}
    inputs = OddInput(place=place)
    place["x"].append(2)
    assert inputs.to_wire({})["place"] == {"x": [1]}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"pictures": [URL]}, "pictures"),
        ({"pictures": [URL] * 4}, "pictures"),
        ({"pictures": []}, "pictures"),
        ({"pictures": URL}, "pictures"),
        ({"pictures": [URL, 5]}, "pictures"),
        ({"pictures": [URL, ""]}, "pictures"),
        ({"seconds": "5"}, "seconds"),
        ({"seconds": 2}, "seconds"),
        ({"place": [1]}, "place"),
        ({"place": {"x": object()}}, "place"),
        ({"place": {"x": float("inf")}}, "place"),
        ({"place": {1: 2}}, "place"),
        ({"place": {"a": [{"skip_minor_check": True}]}}, "place"),
        ({"scenes": [{"forceGenerate": True}]}, "scenes"),
        ({"scenes": {"prompt": "p"}}, "scenes"),
        ({"extra": {"safe": True}}, "extra"),
        ({"extra": {"imageUrls": []}}, "extra"),
    ],
)
def test_what_is_refused(values: dict[str, Any], field: str) -> None:
    """Too few, too many, of another kind, no JSON, or against a safety check."""
    with pytest.raises(InvalidInput) as caught:
        OddInput(**values)
    assert caught.value.field == field
