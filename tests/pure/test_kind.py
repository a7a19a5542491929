"""Refs, ids, marks, and the registry of kinds."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async import Job, Outcome
from a2e_async._core.tasks.kind import Endpoint, check_task_id, name_without_mark, split_ref
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import kind_named, kind_names

from .world import DETAIL

IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=128)
MARK = "a2e-" + "0123456789abcdefghij"


@given(st.sampled_from(kind_names()), st.lists(IDS, min_size=1, max_size=8, unique=True))
def test_refs_round_trip(name: str, ids: list[str]) -> None:
    """A ref brings back its kind and its ids, in their order."""
    kind = kind_named(name)
    kind_name, back = split_ref(kind.ref(tuple(ids)))
    assert kind_named(kind_name) is kind
    assert back == tuple(ids)


HOSTILE = [
    "",
    " ",
    "../x",
    "a/b",
    "a?b",
    "a#b",
    "a%2fb",
    "a.b",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "{id}",
    "a:b",
    "\u0661\u0662\u0663",
    "\uff11\uff12",
    "é",
    "a" * 129,
    None,
    5,
    b"66ea4dd87db10c73fa29b570",
]


@pytest.mark.parametrize("id", HOSTILE)
def test_hostile_ids_are_refused(id: object) -> None:
    """An id that could change a request's path, or is invalid, is refused and shown shortened."""
    with pytest.raises(InvalidInput) as caught:
        check_task_id(id)
    assert caught.value.field == "id"
    assert len(str(caught.value)) < 150
    with pytest.raises(InvalidInput):
        split_ref(f"dubbing:{id}" if isinstance(id, str) else id)
    if isinstance(id, str):
        with pytest.raises(InvalidInput):
            split_ref(f"dubbing:66ea4dd87db10c73fa29b570+{id}")


@pytest.mark.parametrize("ref", ["", ":", "dubbing", "dubbing:", ":x", "dubbing:+", "dubbing:a+"])
def test_what_is_no_ref_is_refused(ref: str) -> None:
    """A ref has a kind, a colon and ids."""
    with pytest.raises(InvalidInput):
        split_ref(ref)


@given(st.text(max_size=80))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    """A valid id does not change the path outside its own segment."""
    try:
        id = check_task_id(text)
    except InvalidInput:
        return
    path, query = Endpoint("GET", "/api/v1/x/{id}").for_id(id)
    assert path == f"/api/v1/x/{text}"
    assert query is None
    assert path.count("/") == 4
    assert Endpoint("GET", "/x", id_parameter="_id").for_id(id) == ("/x", {"_id": text})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None),
        ("", None),
        (MARK, None),
        (f"talk {MARK}", "talk"),
        (f"two words {MARK}", "two words"),
        (f"{MARK} {MARK}", MARK),
        ("talk", "talk"),
        (f"talk {MARK} more", f"talk {MARK} more"),
        (f"talk{MARK}", f"talk{MARK}"),
        (f"talk {MARK}\n", f"talk {MARK}\n"),
        ("a2e-short", "a2e-short"),
        (f"talk {MARK}0", f"talk {MARK}0"),
        (f"talk {MARK.upper()}", f"talk {MARK.upper()}"),
        (f"talk {MARK[:-1]}z", f"talk {MARK[:-1]}z"),
    ],
)
def test_marks_are_stripped_and_nothing_else(name: str | None, shown: str | None) -> None:
    """The client's mark at the end of a name is stripped; other names stay unchanged."""
    assert name_without_mark(name) == shown


@given(st.text(min_size=1, max_size=60).filter(lambda name: name_without_mark(name) == name))
def test_a_marked_name_comes_back(name: str) -> None:
    """A name with a mark appended, as the client sends it, is the user's name again."""
    assert name_without_mark(f"{name} {MARK}") == name


def test_the_registry_knows_its_kinds_and_helps_with_typos() -> None:
    """Each name gives its kind; a near miss gets a suggestion; nothing else is imported."""
    for name in kind_names():
        assert kind_named(name).name == name
    with pytest.raises(InvalidInput, match="Did you mean dubbing"):
        kind_named("dubing")
    for bad in ("", "os", "../dubbing", "registry", "base", "x" * 10_000):
        with pytest.raises(InvalidInput) as caught:
            kind_named(bad)
        assert len(str(caught.value)) < 250


def test_taken_names_are_what_the_field_map_reads() -> None:
    """Default fields and the result's own are taken, so that they are not extra as well."""
    taken = kind_named("dubbing").mapped_fields
    assert {"_id", "id", "current_status", "name", "coins", "createdAt"} <= taken
    assert {"result_url", "faild_message", "failed_message", "failed_code"} <= taken
    assert "target_lang" not in taken
    assert "result_url" not in DETAIL.mapped_fields


def test_a_job_is_printed_by_its_kind_and_key() -> None:
    """A printed outcome shows neither prompts nor the declaration of its kind."""
    job = Job("text_to_image", {"prompt": "a secret lake"}, key="lake-1", meta={"chat": 17})
    assert repr(job) == "<Job text_to_image key='lake-1'>"
    assert repr(Job("text_to_image", {"prompt": "a secret lake"})) == "<Job text_to_image>"
    assert list(job.__rich_repr__()) == ["text_to_image", ("key", "lake-1", None)]
    assert len(repr(Outcome(job=job))) < 200
