"""Every kind against the contract: its operations, its inputs, their bounds and choices."""

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    InputField,
    ItemCount,
    MaxLength,
    Range,
    SerializeAsString,
    build_input,
    input_fields,
)
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import kind_named, kind_names
from tests.samples import SAMPLES, choices, parts

from .spec import CONTRACT, DIFFERENT, EXCLUDED_INPUTS, NESTED, WEBHOOK

ROWS: Mapping[str, Mapping[str, Any]] = {
    row["kind"]: row
    for row in json.loads(
        resources.files("a2e_async.sandbox").joinpath("data/kinds.json").read_text("utf-8")
    )
}
KINDS = kind_names()


def start_schema(kind: TaskKind[..., Any]) -> Mapping[str, Any]:
    """Return the schema of the kind's start."""
    return CONTRACT[f"{kind.start.method} {kind.start.path}"].body


def own_inputs(kind: TaskKind[..., Any]) -> dict[str, InputField]:
    """Return the kind's own inputs by wire name."""
    cls: Any = kind.input
    return {f.wire_name: f for f in input_fields(cls) if not f.common}


def shown(endpoint: Endpoint | None) -> str | None:
    """Return an endpoint as kinds.json writes it."""
    if endpoint is None:
        return None
    query = f"?{endpoint.id_parameter}=" if endpoint.id_parameter else ""
    return f"{endpoint.method} {endpoint.path}{query}"


def test_the_kinds_are_those_of_the_contract() -> None:
    """The kinds are exactly those of the contract."""
    assert set(KINDS) == set(ROWS)


@pytest.mark.parametrize("name", KINDS)
def test_operations(name: str) -> None:
    """Every operation that the kind's row names, with its method and path; no other."""
    kind, row = kind_named(name), ROWS[name]
    for role, endpoint in (
        ("start", kind.start),
        ("detail", kind.detail),
        ("detail_fallback", kind.detail_fallback),
        ("list", kind.list),
        ("processing", kind.processing_list),
        ("batch_detail", kind.batch_detail),
        ("delete", kind.delete),
        ("rename", kind.rename),
    ):
        wanted = row.get(role)
        if wanted is not None:
            wanted = re.sub(r"\{_?id\}", "{id}", wanted)
        if name == "face_swap_preview" and role == "detail":
            wanted = f"{wanted}?_id="  # the row leaves it out; the operation requires it
        assert shown(endpoint) == wanted, role


@pytest.mark.parametrize("name", KINDS)
def test_words(name: str) -> None:
    """The status field and its words, the result fields, the name's place on the wire."""
    kind, row = kind_named(name), ROWS[name]
    assert kind.statuses.field == row["status_field"]
    assert set(row.get("also_status", ())) <= set(kind.statuses.fallback_fields)
    assert set(row["succeeded"]) <= kind.statuses.succeeded
    assert set(row["failed"]) <= kind.statuses.failed
    assert not set(row["waiting"]) & (kind.statuses.succeeded | kind.statuses.failed)
    assert kind.statuses.progress_field == row.get("progress_field")
    assert (kind.name_field or False) == row["name_input"]
    if not kind.record.result_attribute:
        assert {r.field for r in kind.outputs} == set(row["result_fields"])
    failure_fields = {*kind.failure_message_fields, *kind.failure_code_fields}
    assert set(row["failure_fields"]) <= failure_fields


@pytest.mark.parametrize("name", KINDS)
def test_paging(name: str) -> None:
    """The list's parameters are those of the contract, and its largest page is allowed."""
    kind = kind_named(name)
    if kind.list is None:
        return
    query = CONTRACT[f"{kind.list.method} {kind.list.path}"].query
    if kind.paging is None:
        assert not query
        return
    ours = {
        kind.paging.page_parameter,
        kind.paging.size_parameter,
        *(("status",) if kind.paging.status_filters else ()),
    }
    assert ours == set(query)
    assert kind.paging.max_size <= query[kind.paging.size_parameter].get("maximum", 100)
    if kind.paging.status_filters:
        assert set(kind.paging.status_filters) == set(query["status"]["enum"])


@pytest.mark.parametrize("name", KINDS)
def test_inputs(name: str) -> None:
    """Every documented input has a parameter, and every parameter is documented."""
    kind = kind_named(name)
    schema = start_schema(kind)
    start = f"{kind.start.method} {kind.start.path}"
    left_out = {wire for operation, wire in EXCLUDED_INPUTS if operation == start}
    documented = set(schema.get("properties", {})) - WEBHOOK - left_out
    declared = set(own_inputs(kind))
    if name in NESTED:
        # Flat in Python: what is nested is in the body, whose parts the contract does not name.
        body = kind.input(**SAMPLES[name]).to_wire({})
        assert NESTED[name] <= set(body)
        declared = {wire for wire in declared if wire in documented} | NESTED[name]
    if kind.name_field:
        assert kind.name_field in documented
        documented.discard(kind.name_field)
    assert declared == documented
    required = {wire for wire, f in own_inputs(kind).items() if f.required}
    nested = NESTED.get(name, set())
    assert set(schema.get("required", ())) - {kind.name_field} - nested == required


@pytest.mark.parametrize("name", KINDS)
def test_webhooks(name: str) -> None:
    """A start asks for webhook events where that is documented, and only there."""
    kind = kind_named(name)
    documented = WEBHOOK & set(start_schema(kind).get("properties", {}))
    assert documented == (WEBHOOK if kind.accepts_webhook else set())


@pytest.mark.parametrize("name", KINDS)
def test_python_names(name: str) -> None:
    """They are the snake_case of the wire's; ``timeout`` means something else in Python."""
    for wire, f in own_inputs(kind_named(name)).items():
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", wire).lower()
        assert f.name == DIFFERENT.get(wire, snake)
        assert f.find_metadata(AcceptedMedia) is not None or f.metadata, (
            f"{f.name} is not described"
        )


@pytest.mark.parametrize("name", KINDS)
def test_types_and_bounds(name: str) -> None:
    """Types, choices, lengths and counts are those of the schema."""
    kind = kind_named(name)
    for wire, rule in start_schema(kind).get("properties", {}).items():
        f = own_inputs(kind).get(wire)
        if f is None:
            continue
        check_type(f, rule)
        check_choices(f, rule)
        check_bounds(f, rule)


def check_type(f: InputField, rule: Mapping[str, Any]) -> None:
    """The Python type is sent as the type in the schema."""
    made_of = parts(f.hint) | {type(choice) for choice in choices(f.hint)}
    if f.find_metadata(SerializeAsString) is not None:
        assert rule["type"] == "string"
        assert int in made_of
    elif f.find_metadata(AcceptedMedia) is not None:
        assert rule["type"] == ("array" if "Sequence" in str(f.hint) else "string"), f.name
    else:
        expected = {
            "string": str,
            "integer": int,
            "number": (float, int),
            "boolean": bool,
            "array": None,
            "object": Mapping,
        }[rule["type"]]
        if expected is None:
            assert "Sequence" in str(f.hint), f.name
        elif expected is Mapping:
            assert "Mapping" in str(f.hint), f.name
        else:
            wanted = expected if isinstance(expected, tuple) else (expected,)
            assert made_of & set(wanted), f.name


def check_choices(f: InputField, rule: Mapping[str, Any]) -> None:
    """Closed sets are the same on both sides; open ones offer at least what is documented."""
    given = list(choices(f.hint))
    offered = (
        {str(c) for c in given} if f.find_metadata(SerializeAsString) is not None else set(given)
    )
    documented = rule.get("enum")
    bounds = f.find_metadata(Range)
    if documented is None or (bounds is not None and not given):
        if documented is not None:
            whole = range(int(bounds.low), int(bounds.high) + 1)
            assert {str(n) for n in whole} == {str(c) for c in documented}, f.name
        return
    assert offered == set(documented), f.name


def check_bounds(f: InputField, rule: Mapping[str, Any]) -> None:
    """The bounds are those of the schema, and no tighter."""
    bounds, count, length = (
        f.find_metadata(Range),
        f.find_metadata(ItemCount),
        f.find_metadata(MaxLength),
    )
    known = [c for c in choices(f.hint) if isinstance(c, int) and not isinstance(c, bool)]
    for side in ("minimum", "maximum"):
        if side in rule and rule["type"] in ("integer", "number"):
            if known:
                assert all(rule.get("minimum", c) <= c <= rule.get("maximum", c) for c in known)
            else:
                assert bounds is not None, f"{f.name} has no bounds"
                assert (bounds.low if side == "minimum" else bounds.high) == rule[side], f.name
    if "maxLength" in rule:
        assert length is not None, f.name
        assert length.max_chars == rule["maxLength"]
    if "minItems" in rule or "maxItems" in rule:
        assert count is not None, f"{f.name} has no count"
        assert count.low == max(1, rule.get("minItems", 1)), f.name
        assert count.high == rule.get("maxItems"), f.name


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_required_texts_must_not_be_blank(name: str, blank: str) -> None:
    """A blank required text is refused before it is charged."""
    cls: Any = kind_named(name).input
    good = dict(SAMPLES[name])
    build_input(cls, (), good)
    free = (f for f in input_fields(cls) if f.required and str in parts(f.hint))
    for f in free:
        if any(choices(f.hint)):
            continue
        value = [blank] if "Sequence" in str(f.hint) else blank
        with pytest.raises(InvalidInput) as caught:
            build_input(cls, (), good | {f.name: value})
        assert caught.value.field == f.name
