"""Declarations that cannot be used: one clear error each, with its place."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from attrs import define, evolve, fields

from a2e_async import A2E
from a2e_async.errors import ConfigurationError, InvalidInput
from a2e_async.kinds import (
    Endpoint,
    ListPaging,
    OutputField,
    StatusVocabulary,
    TaskInput,
    TaskKind,
    WireName,
    kind_named,
    kind_names,
    load_kinds,
)
from a2e_async.sandbox import Sandbox

from .declarations import FILM, POSTER


@define(kw_only=True)
class ForcedInput(TaskInput):
    """An input that switches off a check, under another name."""

    force: Annotated[bool | None, WireName("force_generate")] = None


@define(kw_only=True)
class AlwaysForcedInput(TaskInput):
    """The same as a constant."""

    constant_fields: ClassVar[dict[str, Any]] = {"force_generate": True}


class UndecoratedInput(TaskInput):
    """A class whose fields attrs does not know."""

    prompt: str


def get(path: str, **more: Any) -> Endpoint:
    """Return an endpoint to read."""
    return Endpoint("GET", path, **more)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "short film"}, "kind 'short film': the name must be an identifier"),
    ({"name": "2films"}, "identifier"),
    ({"name": "kürze"}, "ASCII"),
    ({"name": ""}, "identifier"),
    ({"name": 5}, "identifier"),
    ({"name": "x" * 61}, "at most 60"),
    ({"start": None}, "kind short_film: start must be an Endpoint"),
    ({"start": "POST /a"}, "start must be an Endpoint, not 'POST /a'"),
    ({"start": Endpoint("GET", "/a")}, "start: the method must be POST, not 'GET'"),
    ({"start": Endpoint("POST", "a/b")}, "start: 'a/b' is not the path of an operation"),
    ({"start": Endpoint("POST", "/a/{id}")}, "start: this operation takes no id"),
    ({"start": Endpoint("POST", "/a?force_generate=true")}, "start: .* has a query"),
    ({"start": Endpoint("POST", "/a/../b")}, "start: '/a/../b' is not the path"),
    ({"start": Endpoint("POST", "/a/%2e%2e/b")}, "is not the path"),
    ({"start": Endpoint("POST", "/a b")}, "is not the path"),
    ({"start": Endpoint("POST", "//evil.example/a")}, "start: .* has a host"),
    ({"detail": get("https://evil.example/{id}")}, "detail: .* has a host"),
    ({"detail": get("/a")}, r"detail: /a does not say where the id goes: write \{id\}"),
    ({"detail": get("/a/{_id}")}, r"detail: write \{id\} where the id goes, not \{_id\}"),
    ({"detail": get("/a/:id")}, r"write \{id\} where the id goes, not :id"),
    ({"detail": get("/a/{id}/{id}")}, "detail: the id is given twice"),
    ({"detail": get("/a/{id}", id_parameter="id")}, "the id is given twice"),
    ({"detail": get("/a", id_parameter="skip_face_mask")}, "id_parameter: .* safety check"),
    ({"detail": Endpoint("DELETE", "/a/{id}")}, "detail: the method must be GET or POST"),
    ({"detail_fallback": get("/a")}, "detail_fallback: /a does not say where the id goes"),
    (
        {"detail": None, "detail_fallback": get("/a/{id}")},
        "kind short_film: detail_fallback: declare it as detail",
    ),
    ({"delete": Endpoint("DELETE", "/a")}, "delete: /a does not say where the id goes"),
    ({"rename": Endpoint("PUT", "/a")}, "rename: /a does not say where the id goes"),
    ({"list": get("/a/{id}")}, "list: this operation takes no id"),
    ({"batch_detail": get("/a")}, "batch_detail: the method must be POST"),
    ({"start": Endpoint("POST", "/api/v1/adultVideo/start")}, "start: .* adult content"),
    ({"list": get("/api/v1/userNSFW/allRecords")}, "list: .* adult content"),
    ({"list": get("/api/v1/sexVideo/all")}, "adult content"),
    ({"media": {"image_urls": "picture"}}, "media: image_urls must be one of video, audio"),
    ({"media": {"image_urls": ()}}, "media: image_urls must be one of"),
    ({"media": {"meta": "image"}}, "media: meta is an input of every kind"),
    ({"media": ["image_urls"]}, "media must be a mapping"),
    ({"media": {"masking": "image"}}, "media: 'masking' concerns a safety check"),
    ({"constant_fields": {"force_generate": True}}, "constant_fields: .* safety check"),
    ({"constant_fields": {"force_generate": 0}}, "constant_fields: .* safety check"),
    ({"constant_fields": {"a": {"minor_suspected": False}}}, "constant_fields: a: .* safety"),
    ({"constant_fields": {"webhook_url": "https://x"}}, "webhook_url cannot be the same"),
    ({"constant_fields": {"extra": 1}}, "extra cannot be the same"),
    ({"constant_fields": {"a": {1}}}, "constant_fields: a must contain only JSON"),
    ({"constant_fields": {"clip": "x"}}, "constant_fields: clip is an input as well"),
    ({"constant_fields": {"name": "x"}}, "constant_fields: name is an input as well"),
    ({"name_field": "adult_ok"}, "name_field: .* safety check"),
    ({"count_input": "nsfw"}, "count_input: .* safety check"),
    ({"outputs": OutputField("a", "video")}, "outputs must be a tuple"),
    ({"outputs": ("result_url",)}, "outputs: 'result_url' is not an OutputField"),
    ({"outputs": (OutputField("a", "movie"),)}, "outputs: a must be one of video"),  # type: ignore[arg-type]
    ({"statuses": {"field": "state"}}, "statuses must be a StatusVocabulary"),
    ({"statuses": StatusVocabulary(field="")}, "statuses: field must be the name"),
    (
        {"statuses": StatusVocabulary(succeeded=frozenset({"Done"}), failed=frozenset({"done"}))},
        "'done' is both succeeded and failed",
    ),
    ({"statuses": StatusVocabulary(failed=frozenset())}, "a wait would never end"),
    ({"statuses": StatusVocabulary(failed="failed")}, "failed must be a frozenset"),  # type: ignore[arg-type]
    ({"paging": {"max_size": 5}}, "paging must be a ListPaging or None"),
    ({"paging": ListPaging(max_size=0)}, "paging: max_size must be a whole number"),
    ({"paging": ListPaging(page_parameter="safe_mode")}, "page_parameter: .* safety check"),
    ({"default_timeout": 0}, "default_timeout must be a number of seconds above 0"),
    ({"typical_duration": (5,)}, "typical_duration must be two numbers"),
    ({"typical_duration": (9, 5)}, "typical_duration must be two numbers .* shorter first"),
    ({"typical_duration": (-9, 5)}, "typical_duration must be two numbers"),
    ({"typical_duration": (0, float("inf"))}, "typical_duration must be two numbers"),
    ({"default_timeout": 10**400}, "default_timeout must be a number of seconds above 0"),
    ({"statuses": StatusVocabulary(progress_max=0)}, "progress_max must be a number above 0"),
    ({"statuses": StatusVocabulary(progress_max=10**400)}, "progress_max must be a number"),
    ({"statuses": StatusVocabulary(progress_field="")}, "progress_field must be the name"),
    ({"statuses": StatusVocabulary(completion_field="")}, "completion_field must be the name"),
    *(
        ({field: Endpoint("POST", f"/api/v1/{path}")}, f"{field}: POST .* costs coins")
        for field in ("list", "processing_list", "recovery_lists", "batch_detail", "delete")
        for path in ("shortFilm/start", "userDubbing/startDubbing", "video/generate")
    ),
    (
        {"detail": Endpoint("POST", "/api/v1/userVoice/training", "id")},
        "detail: POST .* costs coins; it can only be the start",
    ),
    ({"accepts_webhook": "no"}, "accepts_webhook must be True or False"),
    ({"failure_message_fields": "why"}, "failure_message_fields must be a tuple"),
    ({"summary": None}, "summary must be text"),
    ({"record": dict}, "record must be a subclass of Record"),
    ({"input": dict, "media": {}}, "input must be a subclass of TaskInput"),
    (
        {"input": UndecoratedInput, "media": {}},
        "UndecoratedInput must be decorated with attrs.define",
    ),
    ({"input": ForcedInput, "media": {}}, "ForcedInput.force: .* safety check"),
    ({"input": AlwaysForcedInput, "media": {}}, "AlwaysForcedInput.constant_fields: .* safety"),
    ({"input": ForcedInput}, "media is for kinds without an input class"),
    *(({"name": name}, "the package has a kind of this name") for name in kind_names()),
    *(({"name": n}, "a paid call") for n in ("speech", "upload", "watermark", "legacy")),
]


@pytest.mark.parametrize(("changes", "text"), BAD, ids=lambda value: str(value)[:50])
def test_one_error_with_its_place(changes: dict[str, Any], text: str) -> None:
    """The client and the sandbox refuse the declaration with the same message."""
    bad: Any = evolve(FILM, **changes)
    with pytest.raises(ConfigurationError, match=text) as caught:
        A2E("key", kinds=[bad])
    assert str(caught.value).startswith("kind ")
    with pytest.raises(ConfigurationError) as same:
        Sandbox(kinds=[bad])
    assert str(same.value) == str(caught.value)


def test_a_name_is_declared_once() -> None:
    """Two kinds with one name are refused."""
    with pytest.raises(ConfigurationError, match="kind short_film: the name is declared twice"):
        A2E("key", kinds=[FILM, POSTER, FILM])


def test_the_starts_of_the_package_are_charged() -> None:
    """No start or retry that the package knows can be declared as a status request."""
    kinds = [kind_named(name) for name in kind_names()]
    for endpoint in (e for kind in kinds for e in (kind.start, kind.retry) if e is not None):
        with pytest.raises(ConfigurationError, match=r"list: POST .* costs coins"):
            A2E("key", kinds=[evolve(FILM, list=endpoint)])
    for kind in kinds:
        for name in ("batch_detail", "delete"):
            if (endpoint := getattr(kind, name)) is not None and endpoint.method == "POST":
                A2E("key", kinds=[evolve(FILM, **{name: endpoint})])


def test_paths_with_ordinary_words_are_allowed() -> None:
    """Words that contain a refused one by chance are no reason."""
    for word in ("usersExport", "middlesexVideo", "essexFilms", "denude", "lewdly"[:3]):
        start = Endpoint("POST", f"/api/v1/{word}/start")
        A2E("key", kinds=[evolve(FILM, start=start)])


def test_the_check_of_the_service_stays_on() -> None:
    """Starts that take force_generate send False, also in another spelling of the path."""
    for path in ("/api/v1/userFlux2/start", "/api/v1/userwan26image/START", "/userWan30/start"):
        kind = TaskKind(name="own", start=Endpoint("POST", path))
        inputs = kind.build_input({"prompt": "x"})
        assert kind.request_body(inputs, {}) == {"prompt": "x", "force_generate": False}
    kept = evolve(FILM, constant_fields={"force_generate": False})
    A2E("key", kinds=[kept])
    assert kept.request_body(kept.build_input({}), {}) == {"force_generate": False}


def test_what_a_class_writes_into_the_body_is_checked() -> None:
    """A class of the user's own cannot send what no input may hold."""

    @define(kw_only=True)
    class Sly(TaskInput):
        look: Any = None

        def to_wire(self, urls: Any) -> dict[str, Any]:
            """Add a field that is not declared."""
            return {**super().to_wire(urls), "force_generate": True}

    kind = evolve(FILM, input=Sly, media={}, constant_fields={})
    A2E("key", kinds=[kind])
    with pytest.raises(InvalidInput, match="safety check"):
        kind.request_body(kind.build_input({}), {})

    @define(kw_only=True)
    class Deep(TaskInput):
        look: Any = None

    kind = evolve(kind, input=Deep)
    with pytest.raises(InvalidInput, match=r"look: .* safety check"):
        kind.request_body(kind.build_input({"look": [{"skip_face_mask": 1}]}), {})


TOML = """
[short_film]
start = "POST /api/v1/shortFilm/start"
"""

BAD_TOML: list[tuple[str, str]] = [
    ("outputz = {}", r"short_film\.outputz: there is no such key\. Did you mean outputs\?"),
    ("xyz = 1", r"short_film\.xyz: there is no such key\. Known keys: start, "),
    ("input = 'MyInput'", r"short_film\.input: this can be declared in Python only"),
    ("detail = '/a/{id}'", r"short_film\.detail: give the method and the path"),
    ("detail = 'GET /a/{_id}'", r"short_film\.detail: write \{id\}"),
    ("detail = 'GET /a?id=5'", r"short_film\.detail: the query can only take the id"),
    ("detail = 'GET https://h/{id}'", r"short_film\.detail: .* has a host"),
    ("detail = 5", r"short_film\.detail: must be text"),
    ("detail = { path = '/a/{id}' }", r"short_film\.detail\.method: is required"),
    ("detail = { method = 'GET', paht = '/a' }", r"short_film\.detail\.paht: .* Did you mean path"),
    ("outputs = ['a']", r"short_film\.outputs: must be a table"),
    ("outputs = { a = 'movie' }", r"short_film\.outputs: a must be one of video"),
    ("media = { a = ['image', 5] }", r"short_film\.media\.a: must be text"),
    ("paging = true", r"short_film\.paging: must be a table, or false"),
    (
        "paging = { page_paramter = 'p' }",
        r"short_film\.paging\.page_paramter: .* Did you mean page_parameter",
    ),
    ("paging = { max_size = 'x' }", r"short_film\.paging\.max_size: must be a whole number"),
    ("statuses = { sucess = ['a'] }", r"short_film\.statuses\.sucess: there is no such key"),
    ("statuses = { failed = 'no' }", r"short_film\.statuses\.failed: must be a list of texts"),
    ("name_field = true", r"short_film\.name_field: must be text, or false"),
    ("accepts_webhook = 1", r"short_film\.accepts_webhook: must be true or false"),
    ("typical_duration = 5", r"short_film\.typical_duration: must be a list of numbers"),
    ("constant_fields = { a = 2020-01-01 }", "constant_fields: a must contain only JSON"),
    ("constant_fields = { force_generate = true }", "constant_fields: .* safety check"),
    ("[short_film", "this is not TOML in UTF-8"),
    ("start = 'POST /b'", "this is not TOML in UTF-8"),
    ("[dubbing]\nstart = 'POST /b'", "dubbing: the package has a kind of this name"),
    ("[other]\nsummary = 'x'", r"other\.start: is required"),
    ("['my film']\nstart = 'POST /b'", "my film: the name must be an identifier"),
]


@pytest.mark.parametrize(("line", "text"), BAD_TOML, ids=lambda value: str(value)[:50])
def test_one_error_with_file_and_key(tmp_path: Path, line: str, text: str) -> None:
    """The message begins with the file, then the key."""
    path = tmp_path / "kinds.toml"
    path.write_text(f"{TOML}{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=text) as caught:
        A2E("key", kinds=path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a = \x00"], ids=["bytes", "null"])
def test_files_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    """A file in another encoding is refused as such."""
    path = tmp_path / "kinds.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="not TOML in UTF-8"):
        load_kinds(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """The path and the reason are in the message."""
    for path in (tmp_path / "none.toml", tmp_path, "\0"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            A2E("key", kinds=path)
    (tmp_path / "flat.toml").write_text("start = 'POST /a'")
    with pytest.raises(ConfigurationError, match="one table for each kind"):
        A2E("key", kinds=str(tmp_path / "flat.toml"))


def test_files_without_an_end(tmp_path: Path) -> None:
    """A named pipe, a device and a file that is too large are refused without being read."""
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", "/dev/zero"):
        with pytest.raises(ConfigurationError, match="cannot be read: it is not a regular file"):
            load_kinds(path)
    large = tmp_path / "large.toml"
    large.write_text(TOML)
    os.truncate(large, 10_000_000)
    with pytest.raises(ConfigurationError, match="cannot be read: it has more than 1,000,000 byte"):
        load_kinds(large)


@pytest.mark.parametrize("value", ["[" * 10_000, "{a=" * 10_000 + "1" + "}" * 10_000])
def test_values_that_are_nested_too_deeply(tmp_path: Path, value: str) -> None:
    """The limit of the interpreter is an error of the file, not a traceback."""
    path = tmp_path / "kinds.toml"
    path.write_text(f"{TOML}constant_fields = {{ a = {value} }}")
    with pytest.raises(ConfigurationError, match=r"kinds\.toml: values are nested too deeply"):
        load_kinds(path)


@pytest.mark.parametrize("key", ["x" * 10_000, "a\\nb", "a\\u001b[31m"])
def test_odd_keys_are_cut_and_escaped(tmp_path: Path, key: str) -> None:
    """An error is one line of ordinary length, whatever the keys are."""
    path = tmp_path / "kinds.toml"
    for text in (f'["{key}"]\nstart = "POST /a"', f'{TOML}"{key}" = 1'):
        path.write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            load_kinds(path)
        message = str(caught.value).removeprefix(str(path))
        assert len(message) < 700
        assert message.isprintable()


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one; it is no part of the first name."""
    path = tmp_path / "kinds.toml"
    path.write_text(TOML.strip(), encoding="utf-8-sig")
    (kind,) = load_kinds(path)
    assert kind.name == "short_film"


def test_a_file_can_hold_every_field() -> None:
    """A new field of TaskKind is readable from a file, or is for Python only."""
    from a2e_async.kinds.kind_file import READERS

    python_only = {"name", "input", "record", "expected_tasks"}
    assert {f.name for f in fields(TaskKind)} == {*READERS} | python_only


def test_the_reference_describes_every_field() -> None:
    """The table of the reference has each field of a declaration, and no other."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "kinds.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert described == {f.name for f in fields(TaskKind)}
