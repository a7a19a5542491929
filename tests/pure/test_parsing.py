"""Any response of the service becomes a record, a DecodeError, or an unknown status."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

from a2e_async._core.redact import hide_signatures
from a2e_async._core.tasks.kind import OutputField, StatusVocabulary, TaskKind
from a2e_async._core.tasks.parsing import read_raw_records, read_record, read_status
from a2e_async.errors import DecodeError
from a2e_async.kinds.registry import kind_named
from a2e_async.models import Record, Status

DUBBING = kind_named("dubbing")
ID = "66ea4dd87db10c73fa29b570"
OUT = "https://results.example/a.mp3?X-Amz-Signature=abc"
MEASURED: TaskKind[..., Any] = evolve(
    DUBBING,
    name="measured",
    statuses=StatusVocabulary(field="status", progress_field="process"),
    outputs=(OutputField("result", "video"), OutputField("more", "image")),
)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("initialized", Status.QUEUED),
        ("sent", Status.QUEUED),
        ("pending", Status.QUEUED),
        ("pendding", Status.QUEUED),
        ("queued", Status.QUEUED),
        ("processing", Status.RUNNING),
        ("in_progress", Status.RUNNING),
        ("completed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        (" Completed\n", Status.SUCCEEDED),
        ("FAILED", Status.FAILED),
        ("cancelled", Status.RUNNING),
        ("complete", Status.RUNNING),
        ("success", Status.RUNNING),
        ("not failed", Status.RUNNING),
        ("", Status.RUNNING),
        (None, Status.RUNNING),
        (0, Status.RUNNING),
        (True, Status.RUNNING),
        (["completed"], Status.RUNNING),
        ({"completed": 1}, Status.RUNNING),
    ],
)
def test_words_become_states_and_the_unknown_is_running(word: Any, status: Status) -> None:
    """An unknown status word never ends a charged job."""
    raw = {"_id": ID, "current_status": word}
    assert read_status(DUBBING, raw) == (status, word if isinstance(word, str) else "")
    record = read_record(DUBBING, raw)
    assert record.done is (status in (Status.SUCCEEDED, Status.FAILED))
    assert read_record(DUBBING, {"_id": ID}).status is Status.RUNNING


@pytest.mark.parametrize(
    "field", ["source_lang", "duration", "num_speakers", "updatedAt", "drop_background_audio"]
)
@pytest.mark.parametrize("value", [10**400, math.nan, math.inf, -1e300, [], {"a": 1}, "\ud800", ""])
def test_an_odd_decoration_never_costs_the_output(field: str, value: Any) -> None:
    """A field of the wrong type is None, its value is in extra, and the output is there."""
    raw = {"_id": ID, "current_status": "completed", "result_url": OUT, field: value}
    record = read_record(DUBBING, raw)
    assert [o.url for o in record.outputs] == [OUT]
    name = {"updatedAt": "updated_at"}.get(field, field)
    if getattr(record, name) is None:
        assert field in record.extra
        assert record.extra[field] is value
    else:
        assert getattr(record, name) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("current_status", 5),
        ("name", ["x"]),
        ("coins", "13"),
        ("coins", 13.5),
        ("createdAt", "yesterday"),
        ("result_url", {"url": OUT}),
        ("result_url", [OUT, {"url": OUT}]),
        ("result_url", "s3://bucket/key"),
        ("faild_message", {"en": "no"}),
        ("failed_code", [1]),
    ],
)
def test_what_the_field_map_cannot_read_is_kept(field: str, value: Any) -> None:
    """Also the fields every record has: a value that was not understood is in extra.

    Its URLs stand there without their signature, which is at hand as ``signed``.
    """
    state = {"current_status": "failed"} if field.startswith("fail") or "faild" in field else {}
    record = read_record(DUBBING, {"_id": ID, field: value, **state})
    assert record.extra == {field: hide_signatures(value)}
    assert "Signature" not in repr(record.extra)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({"0": {"_id": ID}, "1": {"_id": "b" * 24}}, [ID, "b" * 24]),
        ({"0": {"_id": ID}, "1": None}, [ID]),
        ({"0": {"_id": ID}, "first": {"_id": "b" * 24}}, []),
        ({"400": "no"}, []),
        ({}, []),
    ],
)
def test_a_list_as_an_object(data: Any, ids: list[str]) -> None:
    """A start of text_to_image may answer with an object whose names are positions."""
    assert [row["_id"] for row in read_raw_records(data)] == ids


def test_a_plain_record_has_no_extra() -> None:
    """Understood values, None and "" are not kept twice."""
    raw = {"_id": ID, "name": "n", "coins": None, "createdAt": "", "result_url": "", "x": 1}
    raw |= {"faild_message": "", "failed_code": "0", "current_status": "sent"}
    assert read_record(DUBBING, raw).extra == {"x": 1}
    full = raw | {"coins": 1, "createdAt": "2025-01-01", "result_url": OUT, "failed_code": 0}
    assert read_record(DUBBING, full).extra == {"x": 1}


@pytest.mark.parametrize(
    ("value", "coins"),
    [
        *((13, 13), (13.0, 13), (0, 0), (-5, -5), (1e20, 10**20)),
        *((bad, None) for bad in (13.5, "13", True, math.nan, math.inf, None, [])),
    ],
)
def test_coins_are_whole_or_unknown(value: Any, coins: int | None) -> None:
    """13.0 is 13; what is no whole number is None."""
    made = read_record(DUBBING, {"_id": ID, "coins": value}).coins
    assert made == coins
    assert made is None or type(made) is int
    assert read_record(DUBBING, {"_id": ID, "coins": 10**400}).coins == 10**400


@pytest.mark.parametrize(
    ("value", "progress"),
    [
        *((0, 0.0), (50, 0.5), (100, 1.0), (250, 1.0), (-3, 0.0), (12.5, 0.125), (10**400, 1.0)),
        *((bad, None) for bad in ("50", True, math.nan, math.inf, None, [])),
    ],
)
def test_progress_is_a_share_or_unknown(value: Any, progress: float | None) -> None:
    """Percent become 0-1, clamped; kinds that have no such field tell nothing."""
    raw = {"_id": ID, "process": value}
    assert read_record(MEASURED, raw).progress == progress
    assert read_record(DUBBING, raw).progress is None


MOMENT = datetime(2024, 9, 18, 3, 49, 44, 704000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2024-09-18T03:49:44.704Z", MOMENT),
        ("2024-09-18T05:49:44.704+02:00", MOMENT),
        ("2024-09-18T03:49:44.704", MOMENT),
        ("2024-09-18 03:49:44.704", MOMENT),
        (1726631384704, MOMENT),
        (1726631384.704, MOMENT),
        (1726631384, MOMENT.replace(microsecond=0)),
        ("1726631384704", MOMENT),
        ("1712101512345", datetime(2024, 4, 2, 23, 45, 12, 345000, tzinfo=UTC)),
        ("20240918", datetime(2024, 9, 18, tzinfo=UTC)),
        *((bad, None) for bad in ("", "yesterday", "2024-13-01", 1e300, 10**400, -1e300)),
        *((bad, None) for bad in (math.nan, math.inf, True, [], {}, "9" * 400, "\u0661" * 13)),
    ],
)
def test_created_at_in_all_its_forms(value: Any, moment: datetime | None) -> None:
    """Z, offset, naive (UTC), seconds, milliseconds; anything else is None and no error."""
    made = read_record(DUBBING, {"_id": ID, "createdAt": value}).created_at
    if moment is None:
        assert made is None
    else:
        assert made is not None
        assert abs((made - moment).total_seconds()) < 0.001


@pytest.mark.parametrize(
    ("raw", "message", "code"),
    [
        ({"faild_message": "sic", "failed_message": "other"}, "sic", None),
        ({"failed_message": "face not found", "failed_code": "1003"}, "face not found", "1003"),
        ({"failed_message": " ", "error_code": 7}, "the service gave no reason", "7"),
        ({"failed_code": "0", "error_code": "E7"}, "the service gave no reason", "E7"),
        ({"failed_code": 0, "error_code": 0.0}, "the service gave no reason", None),
        ({"failed_code": "None", "error_code": 5.0}, "the service gave no reason", "5"),
        ({"failed_code": True, "error_code": [1]}, "the service gave no reason", None),
        ({"failed_message": 5, "failed_code": 10**5000}, "the service gave no reason", None),
        ({}, "the service gave no reason", None),
    ],
    ids=range(9),
)
def test_failures_have_a_message_and_perhaps_a_code(
    raw: dict[str, Any], message: str, code: str | None
) -> None:
    """Both spellings of the message; codes that mean "nothing failed" are no codes."""
    failure = read_record(DUBBING, {"_id": ID, "current_status": "failed"} | raw).failure
    assert failure is not None
    assert (failure.message, failure.code) == (message, code)


def test_outputs_come_from_the_kind_s_own_fields_in_order() -> None:
    """Echoed inputs are not results; several fields and lists are taken in their order."""
    raw = {"_id": ID, "status": "completed", "more": ["https://h/2", "", "HTTPS://H/3"]}
    raw |= {"result": "https://h/1", "source_url": "https://h/input", "process": 100}
    record = read_record(MEASURED, raw)
    assert [(o.url, o.media, o.index) for o in record.outputs] == [
        ("https://h/1", "video", 0),
        ("https://h/2", "image", 1),
        ("HTTPS://H/3", "image", 2),
    ]
    assert {o.ref for o in record.outputs} == {f"measured:{ID}"}
    assert type(record) is MEASURED.record
    assert isinstance(record, Record)


def test_json_of_the_wire_survives() -> None:
    """A body with NaN and Infinity, as json.loads gives it, is a record."""
    raw = json.loads(f'{{"_id": "{ID}", "coins": NaN, "duration": -Infinity, "createdAt": 1e999}}')
    record = read_record(DUBBING, raw)
    assert (record.coins, record.duration, record.created_at) == (None, None, None)
    assert set(record.extra) == {"coins", "duration", "createdAt"}


# -- ids, words, sources -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", ["", "é", "a b", "x" * 129, " " * 24, "é" * 25, "a" * 23 + ".", 5, []]
)
def test_what_is_no_id(id: Any) -> None:
    """A record without one cannot be asked for again."""
    with pytest.raises(DecodeError) as caught:
        read_record(DUBBING, {"_id": id, "name": "x", "a": 1})
    assert str(caught.value) == "The service returned a dubbing record without an id."
    assert caught.value.excerpt == "_id, name, a"


@pytest.mark.parametrize("id", ["a", "a-b_c", "x" * 128, ID])
def test_an_id_may_stand_under_either_name(id: str) -> None:
    for raw in ({"_id": id}, {"id": id}, {"_id": "", "id": id}, {"_id": id, "id": "other"}):
        assert read_record(DUBBING, raw).id == id


@pytest.mark.parametrize(("raw", "word"), [([], "list"), ("x", "str"), (None, "NoneType")])
def test_what_is_no_record(raw: Any, word: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_record(DUBBING, raw)
    assert str(caught.value) == f"The service returned {word} instead of a dubbing record."


def test_a_kind_may_write_its_words_in_capitals() -> None:
    kind = evolve(DUBBING, statuses=StatusVocabulary(succeeded=frozenset({"Done"})))
    assert read_status(kind, {"current_status": "Done"}) == (Status.SUCCEEDED, "Done")
    assert read_record(kind, {"_id": ID, "current_status": "Done"}).status is Status.SUCCEEDED
    assert read_status(kind, {"current_status": "done"}) == (Status.RUNNING, "done")


def test_a_long_word_is_cut() -> None:
    record = read_record(DUBBING, {"_id": ID, "current_status": "x" * 5000})
    assert 100 <= len(record.raw_status) <= 102
    assert record.status is Status.RUNNING


def test_no_field_shows_a_signature() -> None:
    """Neither a text nor one of several."""
    record = read_record(DUBBING, {"_id": ID, "source_url": OUT, "num_speakers": 2})
    assert record.source_url == "https://results.example/a.mp3"
    assert record.num_speakers == 2
    many = read_record(kind_named("flux2"), {"_id": ID, "input_images": [OUT, OUT]})
    assert many.input_images == ("https://results.example/a.mp3",) * 2
    assert "abc" not in repr((record, many))


def test_an_odd_progress_is_kept() -> None:
    assert read_record(MEASURED, {"_id": ID, "process": "half"}).extra == {"process": "half"}
    assert read_record(MEASURED, {"_id": ID, "process": 50}).extra == {}


def test_outputs_know_where_they_come_from() -> None:
    source: Any = object()
    (output,) = read_record(DUBBING, {"_id": ID, "result_url": OUT}, source).outputs
    assert output._source is source


def test_each_field_of_results_may_be_empty() -> None:
    record = read_record(MEASURED, {"_id": ID, "result": "", "more": ["https://h/1"]})
    assert [(o.url, o.media) for o in record.outputs] == [("https://h/1", "image")]


def test_one_url_twice_in_the_only_field_is_two_results() -> None:
    record = read_record(DUBBING, {"_id": ID, "result_url": [OUT, OUT]})
    assert [o.index for o in record.outputs] == [0, 1]


def test_outputs_know_when_they_expire() -> None:
    url = "https://h/a.mp3?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-Signature=a"
    (output,) = read_record(DUBBING, {"_id": ID, "result_url": f" {url} "}).outputs
    assert output.expires_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("code", [7, -7, 10**18 - 1, 1 - 10**18, 10**18, -(10**18)])
def test_a_failures_number_has_at_most_18_digits(code: int) -> None:
    raw = {"_id": ID, "current_status": "failed", "failed_code": code}
    failure = read_record(DUBBING, raw).failure
    assert failure is not None
    assert failure.code == (str(code) if abs(code) < 10**18 else None)
