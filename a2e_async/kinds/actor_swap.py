"""Actor swap: the person of an image replaces the actor of a video.

Replaces the actor in a video with the person in an image; the motion stays the same.

```python
record = await a2e.actor_swap.run(image_url="portrait.png", video_url="clip.mp4")
await record.output.save("actor.mp4")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import FieldDoc
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.person_inputs import MovingPersonInput, MovingPersonRecord


@define(kw_only=True)
class ActorSwapInput(MovingPersonInput):
    """Inputs of `a2e.actor_swap.start` (``POST /api/v1/actorSwap/start``)."""

    prompt: Annotated[str | None, FieldDoc("Describes the result.")] = None


@define(kw_only=True)
class ActorSwapRecord(MovingPersonRecord):
    """An actor-swap task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""


ACTOR_SWAP = TaskKind(
    name="actor_swap",
    summary="Another actor in a video",
    start_doc="Replace the actor of a video with the person of an image.",
    input=ActorSwapInput,
    record=ActorSwapRecord,
    start=Endpoint("POST", "/api/v1/actorSwap/start"),
    detail=Endpoint("GET", "/api/v1/actorSwap/{id}"),
    list=Endpoint("GET", "/api/v1/actorSwap/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/actorSwap/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/actorSwap/{id}"),
    outputs=(OutputField("result_url", "video"),),
)
