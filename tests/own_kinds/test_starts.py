"""Kinds of a program's own: inputs, starts, waits, lists and everything around them."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from a2e_async import A2E, Record, Task, blocking
from a2e_async.errors import BudgetExceeded, InvalidInput, TaskFailed, TooBusy
from a2e_async.kinds import Endpoint, TaskKind, UpscaleInput
from a2e_async.sandbox import Sandbox, media

from .conftest import MakeClient
from .declarations import ECHO, FILM, POSTER, PosterRecord

PNG = "https://media.example/a.png"
WAV = "https://media.example/a.wav"


async def test_an_untyped_kind_takes_any_json_inputs(a2e: A2E, sandbox: Sandbox) -> None:
    """Inputs are sent by their names; the record has the outputs as declared."""
    record = await a2e.kind("short_film").run(prompt="a harbour", image_urls=[PNG], look={"a": [1]})
    (charge,) = sandbox.ledger.starts("short_film")
    sent = {name: charge.body[name] for name in ("prompt", "image_urls", "look", "engine")}
    assert sent == {
        "prompt": "a harbour",
        "image_urls": [PNG],
        "look": {"a": [1]},
        "engine": {"name": "film", "level": 2},
    }
    assert [output.media for output in record.outputs] == ["video", "image"]
    assert record.extra["prompt"] == "a harbour"


async def test_media_inputs_are_urls_paths_bytes_outputs_or_lists(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Local media is uploaded, and outputs of other tasks are passed by URL."""
    film = await a2e.kind("short_film").run(prompt="one", name="first")
    cover = tmp_path / "cover.png"
    await film.outputs[1].save(cover)
    data = cover.read_bytes()
    await a2e.kind("short_film").run(prompt="two", image_urls=[PNG, cover, data, film.outputs[1]])
    await a2e.kind("short_film").run(prompt="three", image_urls=cover)
    _, many, one = sandbox.ledger.starts("short_film")
    urls = many.body["image_urls"]
    assert urls[0] == PNG
    assert urls[1] == urls[2] == one.body["image_urls"]
    assert urls[1].startswith(sandbox.storage_url)
    assert urls[3].startswith(sandbox.storage_url)
    assert "image_urls" not in film.extra


async def test_files_are_saved_with_their_types(a2e: A2E, tmp_path: Path) -> None:
    """Each output of a record is saved as the file that it is declared to be."""
    task = await a2e.kind("short_film").start(prompt="one")
    assert {path.suffix for path in await task.download(tmp_path)} == {".mp4", ".png"}


@pytest.mark.parametrize(
    ("kind", "given", "field", "text"),
    [
        ("short_film", {"look": PNG.encode()}, "look", "declare it in media|does not declare it"),
        ("short_film", {"look": [Path("a.png")]}, "look", "media={'look': 'image'}"),
        ("short_film", {"look": {1, 2}}, "look", "JSON"),
        ("short_film", {"look": float("nan")}, "look", "JSON"),
        ("short_film", {"image_urls": "ftp://host/a.png"}, "image_urls", "http"),
        ("short_film", {"image_urls": 5}, "image_urls", "URL"),
        ("short_film", {"engine": "mine"}, "engine", "the same for every"),
        ("short_film", {"extra": {"engine": 1}}, "engine", "the same for every"),
        ("short_film", {"force_generate": True}, "inputs", "safety check"),
        ("short_film", {"force_generate": False}, "inputs", "safety check"),
        ("short_film", {"look": [{"skip_face_mask": True}]}, "look", "safety check"),
        ("short_film", {"extra": {"minor_suspected": False}}, "extra", "safety check"),
        ("poster", {}, "text", "must be given"),
        ("poster", {"text": "a", "size": 5}, "size", "between 1 and 4"),
        ("poster", {"text": "a", "colour": 1}, "colour", "no input"),
    ],
)
async def test_inputs_that_are_refused(
    a2e: A2E, sandbox: Sandbox, kind: str, given: dict[str, Any], field: str, text: str
) -> None:
    """Each is refused before anything is sent, with the name of the input."""
    calls: list[Any] = [a2e.kind(kind).start, a2e.kind(kind).quote]
    for call in calls:
        with pytest.raises(InvalidInput, match=text) as caught:
            await call(**given)
        assert caught.value.field == field
    assert sandbox.calls_total == 0


async def test_a_typed_kind_checks_and_decodes(a2e: A2E, sandbox: Sandbox) -> None:
    """Its input class gives names and checks, its record class the fields."""
    posters = a2e.kind("poster")
    assert "background: " in str(inspect.signature(posters.start))
    task = await posters.start(text="hi", background=PNG, name="mine", count=2)
    record = await task.wait()
    assert isinstance(record, PosterRecord)
    assert (record.text, record.name, len(task.ids)) == ("hi", "mine", 2)
    (charge,) = sandbox.ledger.starts("poster")
    assert (charge.body["background_url"], charge.body["title"]) == (PNG, "mine")


async def test_every_operation_of_a_declared_kind(a2e: A2E, sandbox: Sandbox) -> None:
    """Paging, get, get_many, delete, rename and quote follow the declaration."""
    posters: Any = a2e.kind("poster")
    tasks = [await posters.start(text=f"{n}") for n in range(5)]
    for task in tasks:
        await task.wait()
    page = await posters.list(page=2, page_size=2)
    assert [record.text for record in page] == ["2", "1"]
    assert [record.text async for record in posters.iter(page_size=2)] == ["4", "3", "2", "1", "0"]
    with pytest.raises(InvalidInput, match="from 1 to 20"):
        await posters.list(page_size=21)
    (id,) = tasks[0].ids
    await posters.rename(id, "another")
    assert (await posters.get(id)).name == "another"
    await posters.delete(id)
    assert len(await posters.list()) == 4
    assert await posters.quote(text="a") == 10
    films = a2e.kind("short_film")
    film = await films.start(prompt="a")
    assert list(await films.get_many([*film.ids, "0" * 24])) == [*film.ids]
    for missing in (films.processing(), posters.processing(), posters.retry(id)):
        with pytest.raises(InvalidInput, match="has no"):
            await missing
    assert sandbox.calls["rename", "poster"] == 1


async def test_a_list_only_kind_with_a_processing_list_and_retry(
    a2e: A2E, sandbox: Sandbox
) -> None:
    """A kind without detail is polled in its lists; a failed task can be retried."""
    echo: Any = a2e.kind("echo_list")
    sandbox.faults.stuck("echo_list")
    running = await echo.start(sound=WAV)
    assert [record.id for record in await echo.processing()] == [*running.ids]
    sandbox.faults.fail("echo_list")
    task: Task[Record] = await echo.start(sound=WAV)
    with pytest.raises(TaskFailed):
        await task.wait()
    again = await echo.retry(task.ids[0])
    assert (await again.wait()).outputs[0].media == "audio"
    assert sandbox.calls["detail", "echo_list"] == 0


async def test_media_types_may_be_a_list(sandbox: Sandbox, make_client: MakeClient) -> None:
    """Several types are a tuple or a list; a file of another type is refused before it costs."""
    kind = evolve(FILM, media={"clip": ["audio", "video"]})
    a2e = make_client(sandbox, kinds=[kind])
    assert await a2e.kind(kind).quote(clip=media.speech()) == 10
    with pytest.raises(InvalidInput, match="clip"):
        await a2e.kind(kind).start(clip=media.portrait())
    assert sandbox.ledger.charges == ()


async def test_updates_events_and_callers(sandbox: Sandbox, make_client: MakeClient) -> None:
    """Updates, events and turns of callers know the kind by its name."""
    seen: list[Any] = []
    a2e = make_client(sandbox, on_event=seen.append)
    task = await a2e.for_caller("u1", max_unfinished=1).kind("short_film").start(prompt="a")
    states = [record.status async for record in task.updates()]
    assert states[-1] == "succeeded"
    assert task.caller == "u1"
    assert any(getattr(event, "kind", None) == "short_film" for event in seen)


async def test_a_budget_counts_the_quote(sandbox: Sandbox, make_client: MakeClient) -> None:
    """The price is asked with the kind's own start path, and the budget holds."""
    a2e = make_client(sandbox, budget=15)
    await a2e.kind("short_film").run(prompt="a")
    with pytest.raises(BudgetExceeded):
        await a2e.kind("short_film").run(prompt="b")
    assert sandbox.ledger.spent == 10


async def test_two_clients_have_their_own_kinds(sandbox: Sandbox, make_client: MakeClient) -> None:
    """A kind belongs to the client that declares it."""
    films, echoes = make_client(sandbox, kinds=[FILM]), make_client(sandbox, kinds=iter([ECHO]))
    assert (await films.kind("short_film").run(prompt="a")).outputs
    assert (await echoes.kind("echo_list").run(sound=WAV)).outputs
    for client, name in ((films, "echo_list"), (echoes, "short_film"), (films, "short_fim")):
        with pytest.raises(InvalidInput, match="There is no kind"):
            client.kind(name)
    with pytest.raises(InvalidInput, match="Did you mean short_film"):
        films.attach("short_flim:66ea4dd87db10c73fa29b570")
    assert films.kind("dubbing") is films.dubbing
    assert films.kind(films.dubbing.kind) is films.dubbing
    assert films.kind(FILM).kind is FILM
    with pytest.raises(InvalidInput, match="declared differently"):
        films.kind(evolve(FILM, count_input="n"))


async def test_a_kind_may_reuse_an_input_class_of_the_package(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """Its own constants are sent, and its messages name it as the user's own."""
    again = evolve(FILM, input=UpscaleInput, media={})
    a2e = make_client(sandbox, kinds=[again])
    assert repr(a2e.kind(again)) == '<a2e.kind("short_film")>'
    await a2e.kind(again).run(source_url=PNG)
    (charge,) = sandbox.ledger.starts("short_film")
    assert (charge.body["source_url"], charge.body["engine"]["name"]) == (PNG, "film")


async def test_twins_of_a_client_know_its_kinds(a2e: A2E) -> None:
    """with_options and for_caller return clients with the same kinds."""
    for twin in (a2e.with_options(request_timeout=5), a2e.for_caller("u1")):
        assert twin.kind("poster").kind is POSTER


async def test_a_start_only_kind_cannot_be_waited_for(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """Without any status operation a task can be started, and nothing more."""
    bare = TaskKind(name="bare", start=Endpoint("POST", "/api/v1/shortFilm/start"))
    a2e = make_client(sandbox, kinds=[bare])
    assert (await a2e.kind("bare").start(prompt="a")).ref.startswith("bare:")
    with pytest.raises(InvalidInput, match=r'a2e\.kind\("bare"\)\.start'):
        await a2e.kind("bare").run(prompt="a")


def test_documentation_of_a_declared_kind(make_client: MakeClient) -> None:
    """help() of an untyped kind names its media and says that it takes others."""
    a2e = A2E("key", kinds=[FILM])
    start = a2e.kind("short_film").start
    assert "**inputs" in str(inspect.signature(start))
    assert "clip (optional): Media: audio or video." in (start.__doc__ or "")
    assert "by their names in the request body" in (start.__doc__ or "")
    assert "`Record`" in (start.__doc__ or "")


async def test_a_cap_counts_every_task_that_a_start_orders(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """``count_input`` says how many of the client's slots a start needs."""
    sandbox.faults.stuck("poster", times=None)
    a2e = make_client(sandbox, max_unfinished=3)
    posters = a2e.for_caller("u1", max_wait=0).kind("poster")
    await posters.start(text="a", count=2)
    with pytest.raises(TooBusy) as caught:
        await posters.start(text="b", count=2)
    assert (caught.value.unfinished, caught.value.max_unfinished) == (2, 3)
    await posters.start(text="c", count=1)
    assert a2e.stats().unfinished_tasks == 3


async def test_inputs_with_the_names_of_parameters(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """An input of the API may be called as a parameter of the package's own methods."""
    names = ("self", "work", "args", "kwargs", "kind", "input", "values", "media_names")
    inputs = dict.fromkeys(names, "x")
    films = make_client(sandbox).kind("short_film")
    assert await films.quote(**inputs) == 10
    assert films.job(**inputs).input == films.job(**inputs).input
    await films.start(**inputs)
    (charge,) = sandbox.ledger.starts("short_film")
    assert inputs.items() <= charge.body.items()

    def in_thread() -> None:
        with blocking(sandbox.api_key, base_url=sandbox.base_url, kinds=[FILM]) as a2e:
            a2e.kind("short_film").start(**inputs)
            assert a2e.kind("short_film").quote(**inputs) == 10

    await asyncio.to_thread(in_thread)
    assert len(sandbox.ledger.starts("short_film")) == 2
