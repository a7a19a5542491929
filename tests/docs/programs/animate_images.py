"""Animate images and show how far they are: ``python animate_images.py a.png b.png c.png``."""

import asyncio
import sys
from pathlib import Path

from a2e_async import A2E, Status, Task, errors
from a2e_async.kinds import ImageToVideoRecord


async def follow(name: str, task: Task[ImageToVideoRecord]) -> list[Path]:
    try:
        async for record in task.updates(timeout=3600):
            share = "" if record.progress is None else f" {record.progress:.0%}"
            print(f"{name}: {record.status}{share}")
    except errors.TaskTimeout:
        print(f"{name}: still running, see {task.ref}")
        return []
    if task.status is Status.FAILED:
        print(f"{name}: {task.record.failure if task.record else None}")
        return []
    return await task.download("videos")


async def main(images: list[Path]) -> list[Path]:
    async with A2E(journal="videos.db") as a2e:
        price = await a2e.image_to_video.quote(
            image_url=images[0], prompt="wind in the hair", negative_prompt="blurry", video_time=5
        )
        print(f"about {len(images) * (price or 0)} coins")
        tasks = [
            await a2e.image_to_video.start(
                image_url=image,
                prompt="wind in the hair",
                negative_prompt="blurry",
                video_time=5,
                key=f"wind-{image.name}",
            )
            for image in images
        ]
        saved = await asyncio.gather(
            *(follow(image.name, task) for image, task in zip(images, tasks, strict=True))
        )
    return [path for paths in saved for path in paths]


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    made = asyncio.run(main(given))
    assert len(made) == len(given)
    assert all(path.parent == Path("videos") and path.stat().st_size for path in made)
