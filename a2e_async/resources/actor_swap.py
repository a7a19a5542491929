"""Actor swap: the person of a picture plays in a video."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.uses import check_least
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class ActorSwapInput(TaskInput):
    """What `a2e.actor_swap.start` takes (``POST /api/v1/actorSwap/start``)."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture of the person.")]
    video_url: Annotated[MediaInput, Media("video"), Doc("The video whose motion is taken.")]
    prompt: Annotated[str | None, Doc("What is to be seen.")] = None
    negative_prompt: Annotated[str | None, Doc("What must not be seen.")] = None
    processing_limit: Annotated[
        int | None,
        Wire("timeout"),
        Doc("Seconds after which the service itself gives up; it takes 300."),
    ] = None

    def check(self) -> None:
        """Check that the service is given time."""
        check_least(self, 1, "processing_limit")


@define(kw_only=True)
class ActorSwapRecord(Record):
    """A task of this kind. Its output is a video."""

    image_url: str | None = None
    video_url: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None


ACTOR_SWAP = TaskKind(
    name="actor_swap",
    summary="Another actor in a video",
    input=ActorSwapInput,
    record=ActorSwapRecord,
    start_at=Endpoint("POST", "/api/v1/actorSwap/start"),
    detail_at=Endpoint("GET", "/api/v1/actorSwap/{id}"),
    list_at=Endpoint("GET", "/api/v1/actorSwap/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/actorSwap/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/actorSwap/{id}"),
    results=(Result("result_url", "video"),),
)
