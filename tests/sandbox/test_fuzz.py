"""Every operation under generated requests: fitting ones, broken ones, and any JSON at all."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from a2e_async.sandbox._core.account_operations import system_catalogue
from a2e_async.sandbox._core.api_messages import SandboxRequest, SandboxResponse
from a2e_async.sandbox._core.api_spec import Operation, all_operations
from a2e_async.sandbox._core.clock import Moment
from a2e_async.sandbox._core.dispatch import handle, router
from a2e_async.sandbox._core.faults import Faults
from a2e_async.sandbox._core.kinds.registry import KINDS
from a2e_async.sandbox._core.ledger import Ledger
from a2e_async.sandbox._core.object_store import ObjectStore
from a2e_async.sandbox._core.service import Service
from a2e_async.sandbox._core.web.responses import json_bytes

from .conftest import BODIES, STARTS, Api

SERVED = all_operations()
EXAMPLES = 16
SECONDS = 10
"""The time in seconds after which a request counts as hanging."""

Schema = Mapping[str, Any]

ODD_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
"""Text with lone surrogates, which JSON escapes can contain."""

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)

WRONG: dict[str, tuple[Any, ...]] = {
    "string": (7, None, ["a"], {}),
    "integer": ("7", 7.5, True, None),
    "number": ("7", False, None, []),
    "boolean": ("true", 1, None),
    "array": ("a", {}, None, 3),
    "object": ("a", [], 3, None),
}
"""Values of the wrong type, by type."""


class World:
    """A service with two tasks of every kind, one of them finished."""

    def __init__(self) -> None:
        self.now = Moment(0.0, 1.8e9)
        store = ObjectStore(b"secret", "http://storage.test")
        self.service = Service(random.Random(3), store, Faults(), Ledger(10**12))
        self.service.grant_initial_balance(self.now)
        starts = {(item.method, item.path): item for item in SERVED if item.role == "start"}
        own = [
            *system_catalogue.system_avatars(self.service),
            *system_catalogue.streaming_avatars(),
        ]
        self.ids = [
            "0" * 24,
            next(iter(system_catalogue.system_voices())),
            *(item["_id"] for item in own),
        ]
        for seconds in (10**5, 0):
            for kind, path in STARTS.items():
                answer = self.send(starts["POST", path], BODIES[kind])
                data = answer.data if isinstance(answer.data, list) else [answer.data]
                self.ids += [item["_id"] for item in data]
            self.now = Moment(self.now.service_time + seconds, self.now.calendar + seconds)

    def send(
        self,
        operation: Operation,
        body: Any,
        query: Mapping[str, str] | None = None,
        given: str = "",
    ) -> SandboxResponse:
        return handle(self.service, SandboxRequest(operation, given, query or {}, body), self.now)


def fitting(schema: Schema, name: str, ids: list[str]) -> st.SearchStrategy[Any]:
    """Return values that fit a schema, mostly plausible for a field of this name."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return _text(schema, name, ids)
        case "boolean":
            return st.booleans()
        case "integer":
            return _whole(schema.get("minimum"), schema.get("maximum"))
        case "number":
            bounds = schema.get("minimum"), schema.get("maximum")
            return st.floats(*bounds, allow_nan=False, allow_infinity=False) | _whole(*bounds)
        case "array":
            items = fitting(schema.get("items", {}), name, ids)
            low = schema.get("minItems", 0)
            return st.lists(items, min_size=low, max_size=schema.get("maxItems", low + 3))
        case "object":
            inner = {
                key: fitting(value, key, ids) for key, value in schema.get("properties", {}).items()
            }
            needed = {key: inner.pop(key, ANYTHING) for key in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional=inner)
        case _:
            return ANYTHING


def _whole(low: float | None, high: float | None) -> st.SearchStrategy[int]:
    least = None if low is None else math.ceil(low)
    most = None if high is None else math.floor(high)
    huge = [sign * 10**400 for sign, bound in ((-1, least), (1, most)) if bound is None]
    return st.integers(least, most) | st.sampled_from(huge) if huge else st.integers(least, most)


def _text(schema: Schema, name: str, ids: list[str]) -> st.SearchStrategy[str]:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    words = st.text(min_size=low, max_size=min(high or 30, low + 30))
    lower = name.lower()
    if "url" in lower or "image" in lower or "video" in lower:
        return st.sampled_from(["https://example.com/a.png", "https://example.com/a.mp4"]) | words
    if lower == "avatar_id":
        return st.sampled_from([item["_id"] for item in system_catalogue.streaming_avatars()])
    if lower.endswith("id") or lower == "ids":
        return st.sampled_from(ids) | words
    return words | ODD_TEXT.filter(lambda text: low <= len(text) <= (high or 30))


@st.composite
def broken(draw: st.DrawFn, schema: Schema, ids: list[str]) -> tuple[dict[str, Any], str]:
    """Return a body with one invalid field, and the name of the field."""
    body = draw(fitting({**schema, "type": "object"}, "", ids))
    properties: Mapping[str, Schema] = schema.get("properties", {})
    needed = list(schema.get("required", ()))
    typed = [name for name, value in properties.items() if value.get("type") in WRONG]
    if needed and (not typed or draw(st.booleans())):
        name = draw(st.sampled_from(needed))
        body.pop(name)
        return body, name
    name = draw(st.sampled_from(typed))
    return {**body, name: draw(_misfit(properties[name]))}, name


def _misfit(schema: Schema) -> st.SearchStrategy[Any]:
    """Return values that break a schema: of another type, or out of its bounds."""
    choices = list(WRONG[schema["type"]])
    if "minimum" in schema:
        choices.append(schema["minimum"] - 1)
    if "maximum" in schema:
        choices.append(schema["maximum"] + 1)
    if schema.get("minLength"):
        choices.append("")
    if "maxLength" in schema:
        choices.append("a" * (schema["maxLength"] + 1))
    if "enum" in schema and schema["type"] == "string":
        choices.append("none of these")
    if schema.get("minItems"):
        choices.append([])
    return st.sampled_from(choices)


def fitting_query(operation: Operation, ids: list[str]) -> st.SearchStrategy[dict[str, str]]:
    """Return valid query parameters as strings."""
    values = {
        item["name"]: fitting(_small(item.get("schema", {})), item["name"], ids).map(
            lambda value: str(value).lower() if isinstance(value, bool) else str(value)
        )
        for item in operation.query
    }
    needed = {
        item["name"]: values.pop(item["name"]) for item in operation.query if item.get("required")
    }
    return st.fixed_dictionaries(needed, optional=values)


def _small(schema: Schema) -> Schema:
    """Numbers in a query have at most 15 digits."""
    bounds = {"minimum": -(10**14), "maximum": 10**14} if schema.get("type") == "integer" else {}
    return {**bounds, **schema}


def check(answer: SandboxResponse) -> None:
    """Assert that a response is an envelope with a result or a reason."""
    assert answer.status < 500
    decoded = json.loads(json_bytes(answer.body), parse_constant=pytest.fail)
    assert len(decoded["trace_id"]) == 36
    if answer.status < 300 and decoded["code"] == 0:
        assert "data" in decoded
        return
    assert decoded["code"] != 0
    reason = decoded.get("message") or decoded.get("msg")
    assert isinstance(reason, str)
    assert reason
    if "errors" in decoded:
        assert all(
            set(item) == {"field", "message"} and item["message"] for item in decoded["errors"]
        )
        assert decoded["errors"]


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path.removeprefix('/api/v1/')}"


def fuzz(strategy: st.SearchStrategy[Any], test: Any) -> None:
    """Run a test with the same examples on each run."""
    quick = settings(
        max_examples=EXAMPLES,
        deadline=SECONDS * 1000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    quick(given(strategy)(test))()


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("operation", SERVED, ids=name_of)
def test_what_fits_is_answered(operation: Operation, world: World) -> None:
    schema = {**(operation.body_schema or {}), "type": "object"}
    base = BODIES[operation.kind] if operation.path == STARTS.get(operation.kind) else {}
    statuses = Counter[int]()

    def test(request: tuple[Any, dict[str, str], str]) -> None:
        body, query, given_id = request
        answer = world.send(operation, {**base, **body}, query, given_id)
        check(answer)
        statuses[answer.status] += 1

    bodies = fitting(schema, "", world.ids) | st.just(dict(base))
    ids = st.sampled_from(world.ids) if "{" in operation.path else st.just("")
    fuzz(st.tuples(bodies, fitting_query(operation, world.ids), ids), test)
    asks_nothing = not (schema.get("required") or "{" in operation.path)
    if operation.role in {"list", "list_processing", "query"} and asks_nothing:
        assert statuses[200]
    if base and not KINDS[operation.kind].one_at_a_time:
        assert statuses[200]


@pytest.mark.parametrize("operation", SERVED, ids=name_of)
def test_its_path_leads_to_it(operation: Operation, world: World) -> None:
    path = operation.path.replace("{_id}", "0" * 24).replace("{id}", "0" * 24)
    found = router().find(operation.method, path)
    assert found == (operation, "0" * 24 if path != operation.path else "")
    assert router().find("PATCH", path) is None


UNDOCUMENTED = ("_id", "name", "tags", "people_img", "pageNum", "pageSize")
"""Fields that operations without a schema read."""

ODD_QUERY = ODD_TEXT | st.integers().map(str) | st.sampled_from(["\u00b2", "1e9", "0", " 1"])

BODIED = [item for item in SERVED if (item.body_schema or {}).get("properties")]


@pytest.mark.parametrize("operation", BODIED, ids=name_of)
def test_what_does_not_fit_is_refused_with_its_field(operation: Operation, world: World) -> None:
    spent = world.service.ledger.spent

    def test(request: tuple[tuple[dict[str, Any], str], str]) -> None:
        (body, name), given_id = request
        answer = world.send(operation, body, {}, given_id)
        check(answer)
        assert answer.status == 400
        fields = [item["field"] for item in answer.body["errors"]]
        assert any(field == name or field.startswith((f"{name}.", f"{name}[")) for field in fields)

    ids = st.sampled_from(world.ids) if "{" in operation.path else st.just("")
    fuzz(st.tuples(broken(operation.body_schema or {}, world.ids), ids), test)
    assert world.service.ledger.spent == spent


@pytest.mark.parametrize("operation", SERVED, ids=name_of)
def test_nothing_at_all_breaks_it(operation: Operation, world: World) -> None:
    names = [*(operation.body_schema or {}).get("properties", {}), *UNDOCUMENTED]
    bodies = ANYTHING | st.dictionaries(st.sampled_from(names), ANYTHING, max_size=4)
    queries = [*(item["name"] for item in operation.query), "pageNum"]
    query = st.dictionaries(st.sampled_from(queries), ODD_QUERY, max_size=3)
    odd = st.sampled_from(world.ids) | ODD_TEXT.filter(bool)
    ids = odd if "{" in operation.path else st.just("")

    def test(request: tuple[Any, dict[str, str], str]) -> None:
        body, query, given_id = request
        check(world.send(operation, body, query, given_id))

    fuzz(st.tuples(bodies, query, ids), test)


BYTES = [
    *(b"{", b"\xff\xfe", b"NaN", b'{"a":Infinity}', b'{"a":-1e999}', b"[" * 100_000, b'"\\u12"'),
    *(b"", b"null", b"[]", b'"\\ud800"', b"9" * 5000, b"1e5", b"[[[]]]", b'{"_id":7}'),
]
"""Bodies that are not JSON or not an object."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", [STARTS["dubbing"], "/api/v1/video/send_tts", "/api/v1/custom_avatar/del"]
)
async def test_odd_bytes_over_http(api: Api, path: str) -> None:
    for body in BYTES:
        reply = await api.send("POST", path, data=body)
        assert reply.status == 400, body[:20]
        assert reply.json["code"] == 400
        assert "trace_id" in reply.json
    assert api.sandbox.ledger.charges == ()


@pytest.mark.anyio
async def test_odd_requests_over_http(api: Api) -> None:
    for path in (
        "/api/v1/userDubbing/",
        "/api/v1/userDubbing/%00",
        "/api/v1/userDubbing/%F0%9F%8E%89",
        f"/{'a' * 4000}",
    ):
        reply = await api.get(path)
        assert reply.status in {400, 404}
    reply = await api.get("/api/v1/tts/preview/list?current=%ED%A0%80&pageSize=999999999999999999")
    assert {item["field"] for item in reply.json["errors"]} == {"current", "pageSize"}
    odd = {"name": "\ud800", "tags": ["\ud800"]}
    reply = await api.send("POST", "/api/v1/custom_avatar/add", data=json.dumps(odd).encode())
    assert reply.status == 200
    assert (await api.get("/api/v1/custom_avatar/all_tags")).status == 200
