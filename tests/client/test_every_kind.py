"""What holds for every kind: its body, its result, its operations."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.schema.inputs import input_fields
from a2e_async.errors import InvalidInput, NotFound
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox
from tests.contract.spec import CONTRACT, DIFFERENT, NESTED
from tests.samples import CLIP, LEAST, SAMPLES, Inputs, value_of

from . import image_starts, people_inputs, video_inputs
from .conftest import nothing_charged, paid

KINDS = kind_names()

SAFE = {
    *("nano_banana", "gpt_image", "flux2", "qwen_image", "kling_image"),
    *("wan26_image", "wan27_image"),
}
"""Kinds whose body has ``force_generate: false`` besides the inputs: the safe choice."""

MAGIC = {"image": b"\x89PNG", "video": b"ftyp", "audio": b"RIFF"}

TASKS = {**image_starts.SEVERAL, "image_to_video": 2}
"""How many tasks the starts create, where it is not one."""

NOT_ECHOED = {"face_swap": {"cover_url", "model_version"}}
"""Inputs that the service's record does not repeat."""


def most(name: str) -> Inputs:
    """Return all inputs of a kind that can be combined."""
    given = {**image_starts.MOST, **people_inputs.MOST}
    if name in given:
        return given[name]
    if name in video_inputs.FITS:
        return {**LEAST[name], **video_inputs.FITS[name][0]}
    if name in ("image_to_video", "dubbing", "talking_video"):
        return SAMPLES[name]
    cls: Any = kind_named(name).input
    return {f.name: value_of(f) for f in input_fields(cls) if not f.common}


def wire(name: str, inputs: Inputs) -> dict[str, Any]:
    """Return the body that these inputs become, by the contract's names and types."""
    kind = kind_named(name)
    if name in NESTED:
        cls: Any = kind.input
        return dict(cls(**inputs).to_wire({}))
    body: dict[str, Any] = {}
    properties: Mapping[str, Any] = CONTRACT[f"{kind.start.method} {kind.start.path}"].body[
        "properties"
    ]
    for wire_name, rule in properties.items():
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", wire_name).lower()
        value = inputs.get(DIFFERENT.get(wire_name, snake))
        if value is not None:
            body[wire_name] = str(value) if rule.get("type") == "string" else value
    return {**body, "force_generate": False} if name in SAFE else body


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"durations": dict.fromkeys(KINDS, 20.0)}


@pytest.mark.parametrize("name", [name for name in KINDS if LEAST[name]])
async def test_required(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    """A start without its inputs names the first that it needs; nothing is sent."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.kind(name).start()
    inputs = [f for f in kind_named(name).inputs if not f.common]
    required = [f.name for f in inputs if f.required]
    assert caught.value.field in (required[:1] or {f.name for f in inputs})
    assert nothing_charged(sandbox)


@pytest.mark.parametrize("name", KINDS)
async def test_start_to_end(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    """All inputs are sent under their names; the result is a file or an id."""
    inputs, namespace, kind = most(name), a2e.kind(name), kind_named(name)
    price = await namespace.quote(**inputs)
    named = {"name": "mine"} if kind.name_field else {}
    task = await namespace.start(**inputs, **named)
    (charge,) = paid(sandbox)
    sent = wire(name, inputs)
    assert charge.body == sent | ({kind.name_field: "mine"} if kind.name_field else {})
    assert charge.ids == task.ids
    several = TASKS.get(name, 1)
    assert len(task.ids) == several == kind.expected_tasks(namespace.job(**inputs).input)
    assert price in (charge.coins, None)
    if not kind.pollable:
        return

    record: Any = await task.wait()
    assert record.status is Status.SUCCEEDED
    assert record.name == named.get("name")
    assert record.coins in (charge.coins, None)
    if name in image_starts.MOST:
        assert record.coins == price == charge.coins
    if kind.record.result_attribute:
        return
    # The record's class knows every input by its name; no value is left over.
    if name != "avatar_video":
        assert not set(record.extra) & set(sent) - {"timeout"}
        for key in inputs.keys() - NOT_ECHOED.get(name, set()):
            shown = getattr(record.parts[0], key, inputs[key])
            assert (list(shown) if isinstance(shown, tuple) else shown) == inputs[key], key
    assert len(record.outputs) == image_starts.OUTPUTS.get(name, several)
    assert len({output.url for output in record.outputs}) == len(record.outputs)
    media = kind.outputs[0].media
    if media == "file":
        media = "video" if CLIP in inputs.values() else "image"
    for output in record.outputs:
        assert output.ref in {f"{name}:{id}" for id in task.ids}
        assert output.media == kind.outputs[0].media
        assert MAGIC[media] in (await output.read())[:16]
    assert len(paid(sandbox)) == 1


@pytest.mark.parametrize("name", KINDS)
async def test_defaults_are_the_services(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    """Inputs not given are not sent, except the safe default; the name is a mark."""
    task = await a2e.kind(name).start(**LEAST[name])
    (charge,) = paid(sandbox)
    body, field = dict(charge.body), task.kind.name_field
    if field:
        mark = body.pop(field)
        assert mark.startswith("a2e-")
        assert len(mark) <= task.kind.max_name_length
    assert body == wire(name, LEAST[name])
    assert len(task.ids) == 1
    if task.kind.pollable:
        assert (await task.wait()).name is None


@pytest.mark.parametrize("name", [name for name in KINDS if kind_named(name).list])
async def test_get_list_and_delete(a2e: A2E, name: str) -> None:
    """The other operations of each kind, by their own paths and paging."""
    namespace: Any = a2e.kind(name)
    ids = [(await namespace.run(**LEAST[name])).id for _ in range(3)]
    assert (await namespace.get(ids[0])).id == ids[0]
    if namespace.kind.batch_detail is not None:
        assert list(await namespace.get_many(ids)) == ids
    assert [record.id async for record in namespace.iter(page_size=2)] == ids[::-1]
    if namespace.kind.paging is not None:
        assert [record.id for record in await namespace.list(page=2, page_size=1)] == [ids[1]]
    if namespace.kind.delete is None:
        return
    await namespace.delete(ids[1])
    with pytest.raises(NotFound):
        await namespace.get(ids[1])
    assert [record.id for record in await namespace.list()] == [ids[2], ids[0]]
