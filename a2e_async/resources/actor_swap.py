"""Actor swap: the person of an image replaces the actor of a video."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc
from a2e_async.resources.people import MovingInput, MovingRecord
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class ActorSwapInput(MovingInput):
    """Inputs of `a2e.actor_swap.start` (``POST /api/v1/actorSwap/start``)."""

    prompt: Annotated[str | None, Doc("Describes the result.")] = None


@define(kw_only=True)
class ActorSwapRecord(MovingRecord):
    """An actor-swap task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""


ACTOR_SWAP = TaskKind(
    name="actor_swap",
    summary="Another actor in a video",
    start_doc="Replace the actor of a video with the person of an image.",
    input=ActorSwapInput,
    record=ActorSwapRecord,
    start_at=Endpoint("POST", "/api/v1/actorSwap/start"),
    detail_at=Endpoint("GET", "/api/v1/actorSwap/{id}"),
    list_at=Endpoint("GET", "/api/v1/actorSwap/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/actorSwap/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/actorSwap/{id}"),
    results=(Result("result_url", "video"),),
)
