"""Each of the package's own kinds, declared again in a TOML file, against an independent server."""

from pathlib import Path
from typing import Any

import pytest

from a2e_async.errors import NotFound
from a2e_async.kinds import TaskKind, kind_named, kind_names, load_kinds
from tests.hostile import Fault, HostileServer, Step
from tests.hostile.catalogue import LOST
from tests.hostile.kinds import KINDS as HOSTILE
from tests.samples import SAMPLES

from .conftest import MakeClient
from .declarations import to_toml

PYTHON_ONLY = {"name", "input", "record", "start_doc", "expected_tasks", "media", "count_input"}


def own_name(kind: str) -> str:
    """Return the name under which a packaged kind is declared again."""
    return f"own_{kind}"


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TOML file that declares every kind of the package under another name."""
    path = tmp_path_factory.mktemp("kinds") / "kinds.toml"
    tables: list[str] = []
    for name in kind_names():
        kind = kind_named(name)
        media = {f.wire_name: f.media.types for f in kind.inputs if f.media is not None}
        table = to_toml(own_name(name), kind, media)
        count = HOSTILE[name].count_input
        if count:
            table = table.replace("\n", f'\ncount_input = "{count}"\n', 1)
        tables.append(table)
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def body_of(name: str) -> dict[str, Any]:
    """Return the sample inputs of a packaged kind by their wire names, without constants."""
    kind = kind_named(name)
    inputs = kind.build_input(SAMPLES[name])
    urls = {(f.name, place): value for f, place, value in inputs.media()}
    body = kind.request_body(inputs, urls)  # type: ignore[arg-type]  # samples have URLs only
    return {key: value for key, value in body.items() if key not in type(inputs).constant_fields}


@pytest.mark.parametrize("name", kind_names())
def test_a_file_can_say_all_that_the_package_says(toml: Path, name: str) -> None:
    """Every field that differs between the package's kinds can be written in TOML."""
    packaged = kind_named(name)
    assert packaged.is_packaged
    (own,) = [kind for kind in load_kinds(toml) if kind.name == own_name(name)]
    for field in TaskKind.__attrs_attrs__:  # type: ignore[attr-defined]  # attrs adds it
        if field.name == "constant_fields":
            assert own.sent_constants == packaged.input.constant_fields or (
                name == "wan30" and own.sent_constants == {"force_generate": False}
            )
        elif field.name not in PYTHON_ONLY:
            assert getattr(own, field.name) == getattr(packaged, field.name), field.name


@pytest.mark.parametrize("name", kind_names())
async def test_every_kind_runs_as_declared(
    hostile: HostileServer, make_client: MakeClient, toml: Path, name: str
) -> None:
    """Started once with the same body as the packaged kind, waited for, read, listed, deleted."""
    a2e = make_client(hostile, kinds=toml)
    own: Any = a2e.kind(own_name(name))
    packaged: Any = getattr(make_client(hostile, kinds=None), name)
    theirs = await packaged.start(**SAMPLES[name])
    task = await own.start(**body_of(name))
    first, second = hostile.ledger.of(name)
    named = {own.kind.name_field}
    for key in (first.body.keys() | second.body.keys()) - named - {"force_generate"}:
        assert first.body.get(key) == second.body.get(key), key
    assert first.body.get("force_generate", False) is second.body.get("force_generate", False)
    assert len(task.ids) == len(theirs.ids) == HOSTILE[name].ordered(second.body)
    if not own.kind.pollable:
        return
    hostile.finish()
    record, expected = await task.wait(timeout=20), await theirs.wait(timeout=20)
    assert record.status is expected.status
    assert [output.media for output in record.outputs] == [o.media for o in expected.outputs]
    if own.kind.outputs:
        assert record.outputs
    assert (await own.get(task.ids[0])).id == task.ids[0]
    if own.kind.list:
        assert {one.id async for one in own.iter()} >= {*task.ids}
    if own.kind.delete:
        await own.delete(task.ids[0])
        with pytest.raises(NotFound):
            await own.get(task.ids[0])


FINDABLE = [n for n in kind_names() if kind_named(n).list and kind_named(n).name_field]


@pytest.mark.parametrize("name", FINDABLE)
async def test_a_lost_start_is_found_and_never_paid_twice(
    hostile: HostileServer, make_client: MakeClient, toml: Path, tmp_path: Path, name: str
) -> None:
    """A start whose response is lost is found in the declared list by its mark."""
    a2e = make_client(hostile, kinds=toml, journal=str(tmp_path / "jobs.db"))
    hostile.faults.add(Step.START, Fault.disconnect(), times=1)
    task = await a2e.kind(own_name(name)).start(**body_of(name), key="k")
    assert len(hostile.ledger.of(name)) == 1
    assert {*task.ids} <= {*hostile.ledger.of(name)[0].ids}


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_no_lost_response_charges_a_declared_kind_twice(
    hostile: HostileServer, make_client: MakeClient, toml: Path, tmp_path: Path, fault: Fault
) -> None:
    """Whatever comes back: one accepted start, its task in the journal, also after a restart."""
    journal = str(tmp_path / "jobs.db")
    hostile.faults.add(Step.START, fault, times=1)
    for _ in range(2):
        a2e = make_client(hostile, kinds=toml, journal=journal)
        task = await a2e.kind("own_dubbing").start(**body_of("dubbing"), key="k")
        (accepted,) = hostile.ledger.of("dubbing")
        assert task.ids == accepted.ids
        assert [found.ref async for found in a2e.unfinished()] == [task.ref]
        await a2e.aclose()
