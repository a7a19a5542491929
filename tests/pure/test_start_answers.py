"""Start responses, lists, and the samples of the API's reference."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from a2e_async._core.http.envelope import MAX_JSON_DEPTH
from a2e_async._core.schema.record_decoder import RecordDecoder
from a2e_async._core.tasks.parsing import (
    MAX_STALE_PAGES,
    ListEndDetector,
    StartRefusal,
    contains_list,
    read_raw_records,
    read_record,
    read_start_response,
    read_total_count,
    records_by_id,
    unwrap_detail,
)
from a2e_async.kinds.registry import kind_named

DUBBING = kind_named("dubbing")
ID, ID2 = "66ea4dd87db10c73fa29b570", "66ea4dd87db10c73fa29b571"
ONE, TWO = {"_id": ID}, {"_id": ID2}


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (ONE, [ID]),
        ({"id": ID}, [ID]),
        ([ONE, TWO], [ID, ID2]),
        ([ONE, None, "x", {}], [ID]),
        ({"rows": [ONE, TWO], "count": 2}, [ID, ID2]),
        ({"list": [ONE]}, [ID]),
        ({"data": [ONE]}, [ID]),
        ({"data": ONE}, [ID]),
        ({"data": {"rows": [ONE]}}, [ID]),
        ({"records": [ONE], "total": 1}, [ID]),
        ({"_id": ID, "failed_message": "", "success": True}, [ID]),
        ({"_id": ID, "current_status": "failed", "failed_message": "no"}, [ID]),
        ({"_id": ID, "data": {}, "list": [], "rows": [TWO]}, [ID]),
        ({"_id": ID, "message": "ok", "msg": "ok"}, [ID]),
    ],
)
def test_records_in_every_shape_are_a_start(data: Any, ids: list[str]) -> None:
    """A record anywhere is a start that was accepted; a record's own fields do not hide it."""
    start = read_start_response(DUBBING, data)
    assert isinstance(start, tuple)
    assert [raw.get("_id", raw.get("id")) for raw in start] == ids


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"failed_message": "face not found"}, "face not found"),
        ({"faild_message": "sic"}, "sic"),
        ({"success": False}, "the service returned success: false without a reason"),
        ({"success": False, "message": "plan too low"}, "plan too low"),
        ({"success": False, "msg": "plan too low", "rows": []}, "plan too low"),
        ({"success": True, "failed_message": "no"}, "no"),
    ],
)
def test_refusals_contain_their_reason(data: Any, reason: str) -> None:
    """A response that says there is no task is a refusal, with the service's reason."""
    assert read_start_response(DUBBING, data) == StartRefusal(reason)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "",
        " ",
        0,
        True,
        5,
        [[]],
        ["insufficient coins"],
        [{}],
        {"rows": [], "count": 0},
        {"data": None},
        {"data": {}},
        {"success": True},
        {"success": None},
        {"success": "false"},
        {"failed_message": ""},
        {"message": "success"},
        {"msg": "Task submitted"},
        {"success": True, "message": "ok"},
        {"_id": ""},
        {"_id": None},
        {"_id": 5},
        {"task": {"x": 1}},
        "https://results.example/a.mp3?sig=1",
        " HTTPS://results.example/a.mp3",
        ID,
        "success",
        "OK.",
        "Submitted!",
        "pending",
        "insufficient coins",
        "  busy, try later \n",
        "余额不足",
    ],
)
def test_everything_else_is_an_unknown_outcome(data: Any) -> None:
    """A response that says neither may have been charged: None, never a refusal."""
    assert read_start_response(DUBBING, data) is None
    # A kind whose failures stand under "msg" makes no exception.
    assert read_start_response(kind_named("avatar_video"), data) is None


@pytest.mark.parametrize(
    ("data", "total"),
    [
        ({"rows": [], "count": 7}, 7),
        ({"total": 7.0}, 7),
        ({"count": None, "total": 3}, 3),
        ({"count": -1}, None),
        ({"count": "7"}, None),
        ({"count": True}, None),
        ({"count": float("nan")}, None),
        ([ONE], None),
        (None, None),
    ],
)
def test_total_counts_are_read_or_unknown(data: Any, total: int | None) -> None:
    """count or total, whole and not negative; else unknown."""
    assert read_total_count(data) == total


def test_a_bare_record_is_a_list_of_one() -> None:
    """Some lists of one come without their list."""
    assert read_raw_records(ONE) == [ONE]
    assert read_raw_records({"count": 0}) == []


# The sample records of the API's pages, with invented hosts.
DUBBING_SAMPLE: dict[str, Any] = {
    "name": "test",
    "source_url": "https://media.example/audio.WAV",
    "current_status": "sent",
    "source_lang": "auto",
    "target_lang": "en",
    "num_speakers": 1,
    "drop_background_audio": False,
    "duration": 51,
    "result_url": "",
    "faild_message": "",
    "_id": "66ea4dd87db10c73fa29b570",
    "user_id": "665da3d7bcf6ab778bad0f6a",
    "createdAt": "2024-09-18T03:49:44.704Z",
    "updatedAt": "2024-09-18T03:49:44.704Z",
}
TALKING_SAMPLE: dict[str, Any] = {
    "_id": "68c3e20ad54b2f0047dd3c4c",
    "name": "My Talking Video",
    "video_url": "https://media.example/person.mp4",
    "audio_url": "https://media.example/speech.mp3",
    "duration": 5,
    "current_status": "initialized",
    "coins": 13,
    "createdAt": "2025-09-12T09:04:10.026Z",
    "failed_message": "",
    "failed_code": "",
    "result_url": "",
    "prompt": "Make this person smile and speak",
    "negative_prompt": "blurry, distorted",
    "cover_url": "",
}
IMAGE_SAMPLE: dict[str, Any] = {
    "_id": "68c3e20ad54b2f0047dd3c4d",
    "name": "moves",
    "image_url": "https://media.example/picture.png",
    "prompt": "she waves",
    "negative_prompt": "blurry",
    "current_status": "completed",
    "coins": 30,
    "createdAt": "2025-09-12T09:04:10.026Z",
    "failed_message": "",
    "failed_code": "",
    "result_url": "https://media.example/result.mp4",
}
# Inputs that the record may echo; no sample shows them.
NOT_SEEN = ("end_image_url", "lora", "model_type", "model_version", "video_time")


def model_drift(reader: RecordDecoder, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the differences between ``raw`` and the model, one line each."""
    own, extra = reader.decode(raw)
    modelled = {name for f in reader.fields for name in f.wire_names}
    return tuple(
        f"{name}: wrong type {type(value).__name__}"
        if name in modelled
        else f"{name}: not modelled"
        for name, value in sorted(extra.items())
    ) + tuple(
        f"{f.name}: missing"
        for f in reader.fields
        if f.name not in own and f.wire_names[0] not in raw
    )


@pytest.mark.parametrize(
    ("name", "sample", "known"),
    [
        ("dubbing", DUBBING_SAMPLE, ()),
        ("talking_video", TALKING_SAMPLE, ()),
        ("image_to_video", IMAGE_SAMPLE, tuple(f"{n}: missing" for n in NOT_SEEN)),
    ],
)
def test_the_models_do_not_drift_from_the_samples(
    name: str, sample: dict[str, Any], known: tuple[str, ...]
) -> None:
    """Each field of the seen answers is modelled, of the right type, and none is missing."""
    kind: Any = kind_named(name)
    assert model_drift(kind.field_decoder, sample) == known
    record = read_record(kind, sample)
    assert record.extra == {}
    assert record.id == sample["_id"]
    assert record.name == sample["name"]
    assert record.coins == sample.get("coins")
    assert [o.url for o in record.outputs] == ([sample["result_url"]] if known else [])


def test_drift_is_reported() -> None:
    """The detector sees a new field, a changed type and a missing field."""
    sample = DUBBING_SAMPLE | {"newer": 1, "duration": "51 s"}
    del sample["user_id"]
    assert model_drift(DUBBING.field_decoder, sample) == (
        "duration: wrong type str",
        "newer: not modelled",
        "user_id: missing",
    )


# -- several records of one task ---------------------------------------------------------------

STATES: list[dict[str, Any]] = [
    {"current_status": "sent"},
    {"current_status": "processing"},
    {"current_status": "failed"},
    {"current_status": "completed"},
    {"current_status": "completed", "result_url": "https://h/a.mp4"},
]


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("second", range(5))
def test_of_two_records_of_one_task_the_further_one_counts(first: int, second: int) -> None:
    """In whatever order they stand, in one answer or over several; the later one of equals."""
    one, other = ({"_id": ID, "n": n, **STATES[n]} for n in (first, second))
    further = one if first > second else other
    assert records_by_id(DUBBING, [one, other]) == {ID: further}
    assert unwrap_detail(DUBBING, {"rows": [one, other]}, ID) is further
    known = {ID: one, ID2: TWO}
    assert records_by_id(DUBBING, [other], known) is known
    assert known == {ID: further, ID2: TWO}
    assert records_by_id(DUBBING, [one, {**other, "_id": ID2}]) == {
        ID: one,
        ID2: {**other, "_id": ID2},
    }


def test_rows_without_an_id_are_left_out() -> None:
    old = {"_id": ID, "current_status": "sent"}
    new = {"_id": ID, "current_status": "failed"}
    assert records_by_id(DUBBING, [new, {}, {"_id": ""}, old, TWO]) == {ID: new, ID2: TWO}
    assert records_by_id(DUBBING, []) == {}


def test_a_detail_of_another_task_is_not_taken_for_it() -> None:
    for other in (ID2, 17, [ID], "not an id"):
        assert unwrap_detail(DUBBING, {"_id": other, "current_status": "failed"}, ID) is None
    assert unwrap_detail(DUBBING, {"id": ID, "current_status": "sent"}, ID) == {
        "id": ID,
        "current_status": "sent",
    }


@pytest.mark.parametrize("key", ["rows", "list", "data", "records", "items", "tasks"])
def test_what_holds_a_list(key: str) -> None:
    assert contains_list([])
    assert contains_list({key: []})
    assert contains_list({key: {}})
    assert not contains_list({key: None})
    assert not contains_list({key: "text"})
    assert not contains_list({"other": []})
    for nothing in (None, "text", 5, {}):
        assert not contains_list(nothing)


def test_an_empty_list_says_so() -> None:
    assert read_total_count({"count": 0}) == 0
    assert read_total_count({"total": 0}) == 0
    assert read_total_count({"count": -1, "total": 3}) == 3


# -- a start's response as text ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f'{{"_id": "{ID}"}}', [ID]),
        (f' \n [{{"_id": "{ID}"}}, {{"_id": "{ID2}"}}] ', [ID, ID2]),
        (f'{{"data": {{"_id": "{ID}"}}}}', [ID]),
    ],
)
def test_a_text_may_be_the_records_in_json(text: str, ids: list[str]) -> None:
    start = read_start_response(DUBBING, text)
    assert isinstance(start, tuple)
    assert [raw["_id"] for raw in start] == ids


def test_a_text_may_be_a_refusal_in_json() -> None:
    assert read_start_response(DUBBING, '{"success": false, "msg": "no"}') == StartRefusal("no")


@pytest.mark.parametrize("text", ["{", "[", "5", f'"{ID}"', ID, f'{{"_id": "{ID}"'])
def test_a_text_that_is_no_json_is_unknown(text: str) -> None:
    assert read_start_response(DUBBING, text) is None


@pytest.mark.parametrize(
    ("levels", "read"), [(MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False), (100_000, False)]
)
def test_a_text_that_is_nested_too_deeply_is_unknown(levels: int, read: bool) -> None:
    lists = "[" * (levels - 1) + "]" * (levels - 1)
    start = read_start_response(DUBBING, f'{{"_id": "{ID}", "x": {lists}}}')
    assert (start is not None) is read


@pytest.mark.parametrize("name", ["message", "msg"])
def test_a_message_refuses_only_next_to_success_false(name: str) -> None:
    """Also where the kind gives the reasons of failures under that name."""
    kind = evolve(DUBBING, name="any", failure_message_fields=(name, "failed_message"))
    assert read_start_response(kind, {name: "done"}) is None
    assert read_start_response(kind, {name: "done", "failed_message": "no"}) == StartRefusal("no")
    assert read_start_response(kind, {name: "bad", "success": False}) == StartRefusal("bad")


# -- the end of a list -------------------------------------------------------------------------

NEW = {"shows_new": True, "has_records": True}
STALE = {"shows_new": False, "has_records": True}
EMPTY = {"shows_new": False, "has_records": False}


def test_a_page_that_shows_something_new_is_never_the_end() -> None:
    end = ListEndDetector()
    assert not any(end.reached(**NEW, seen_count=5, total=total) for total in (None, 0, 5, 9))


def test_a_page_that_shows_nothing_new_is_the_end() -> None:
    """But where the list counts more than it has shown it is only the third such."""
    for total in (None, 0, 4, 5):
        assert ListEndDetector().reached(**STALE, seen_count=5, total=total)
    end = ListEndDetector()
    for _ in range(2):
        stops = [end.reached(**STALE, seen_count=5, total=6) for _ in range(MAX_STALE_PAGES)]
        assert stops == [False] * (MAX_STALE_PAGES - 1) + [True]
        assert not end.reached(**NEW, seen_count=5, total=6)
    assert ListEndDetector().reached(**EMPTY, seen_count=5, total=6)


def test_a_thorough_reading_needs_an_empty_page_or_several_stale_ones() -> None:
    for total in (None, 0, 5, 6):
        end = ListEndDetector(thorough=True)
        stops = [end.reached(**STALE, seen_count=5, total=total) for _ in range(MAX_STALE_PAGES)]
        assert stops == [False] * (MAX_STALE_PAGES - 1) + [True]
        assert ListEndDetector(thorough=True).reached(**EMPTY, seen_count=5, total=total)
