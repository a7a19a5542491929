"""Drive each client through its own documented call that starts a job and waits for it.

A driver is created in a separate process and imports its client there. A setting changes a
documented argument or attribute of the client; if there is none, a constant in its source, and
then the label of the setting says so.
"""

import asyncio
import os
from typing import Any


class Driver:
    """One client and one server. ``interval``: seconds between polls, None for the default."""

    def __init__(self, base_url: str, *, interval: float | None, request_timeout: float) -> None:
        self.base_url = base_url
        self.interval = interval
        self.request_timeout = request_timeout

    async def start(self, prompt: str) -> None:
        """Start one job and do not wait for it."""
        raise NotImplementedError

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        """Start a job and wait; return whether it succeeded. ``timeout`` is the client's own."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the client."""


class NoDeadline(Exception):
    """The client's waiting call has no timeout."""


class Ours(Driver):
    """``await a2e.talking_video.run(…)``."""

    kind = "talking_video"

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        from a2e_async import A2E
        from a2e_async.errors import TaskFailed

        given: dict[str, Any] = {} if self.interval is None else {"poll_interval": self.interval}
        self.failed = TaskFailed
        # No rate limit, because the peers have none either.
        self.client = A2E(
            "bench-key",
            base_url=base_url,
            rate=None,
            request_timeout=self.request_timeout,
            start_timeout=self.request_timeout,
            **given,
        )

    async def _start(self, prompt: str) -> Any:
        return await self.client.talking_video.start(
            video_url="https://media.example/in.mp4", prompt=prompt, negative_prompt="blurry"
        )

    async def start(self, prompt: str) -> None:
        await self._start(prompt)

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        task = await self._start(prompt)
        try:
            await task.wait(**({} if timeout is None else {"timeout": timeout}))
        except self.failed:
            return False
        return True

    async def aclose(self) -> None:
        await self.client.aclose()


class OursWithoutBatch(Ours):
    """The same for a kind without a batchDetail operation (dubbing)."""

    async def _start(self, prompt: str) -> Any:
        # This kind has no prompt; use an input that takes free text.
        return await self.client.dubbing.start(
            source_url="https://media.example/in.mp4", target_lang=prompt
        )


class Fal(Driver):
    """``await fal_client.AsyncClient().subscribe(…)``."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        import fal_client
        import fal_client.client

        # The host is a setting (FAL_QUEUE_RUN_HOST), https is not.
        fal_client.client.QUEUE_URL_FORMAT = f"{base_url}/fal/"
        self.error: Any = fal_client.FalClientHTTPError
        self.client: Any = fal_client.AsyncClient("bench", default_timeout=self.request_timeout)

    async def start(self, prompt: str) -> None:
        await self.client.submit("bench/video", {"prompt": prompt})

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        given = {} if self.interval is None else {"interval": self.interval}
        try:
            await self.client.subscribe(
                "bench/video", {"prompt": prompt}, client_timeout=timeout, **given
            )
        except self.error as error:
            if error.status_code != 422:
                raise
            return False
        return True


class Replicate(Driver):
    """``await client.async_run(…)``: the start's request is held until the job ends (60 s)."""

    wait: Any = True

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        import httpx
        import replicate
        from replicate.exceptions import ModelError

        limit = None if self.request_timeout >= 60 else httpx.Timeout(self.request_timeout)
        self.failed = ModelError
        self.client = replicate.Client("bench", base_url=f"{base_url}/replicate", timeout=limit)
        if self.interval is not None:
            self.client.poll_interval = self.interval

    async def start(self, prompt: str) -> None:
        await self.client.models.predictions.async_create(
            model=("bench", "video"), input={"prompt": prompt}
        )

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        if timeout is not None:
            raise NoDeadline
        try:
            await self.client.async_run(
                "bench/video", {"prompt": prompt}, wait=self.wait, use_file_output=False
            )
        except self.failed:
            return False
        return True


class ReplicatePolling(Replicate):
    """``await client.async_run(…, wait=False)``: polls the prediction."""

    wait = False


class Runway(Driver):
    """``await (await client.text_to_image.create(…)).wait_for_task_output()``."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        import runwayml
        from runwayml.lib import polling

        if self.interval is not None:
            polling.POLL_TIME = self.interval  # type: ignore[assignment]
            polling.POLL_JITTER = self.interval / 2  # type: ignore[assignment]
        self.failed = runwayml.TaskFailedError
        self.client = runwayml.AsyncRunwayML(
            api_key="bench", base_url=f"{base_url}/runway", timeout=self.request_timeout
        )

    async def _start(self, prompt: str) -> Any:
        return await self.client.text_to_image.create(
            model="gen4_image", prompt_text=prompt, ratio="1920:1080"
        )

    async def start(self, prompt: str) -> None:
        await self._start(prompt)

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        task = await self._start(prompt)
        try:
            await task.wait_for_task_output(**({} if timeout is None else {"timeout": timeout}))
        except self.failed:
            return False
        return True

    async def aclose(self) -> None:
        await self.client.close()


class OpenAI(Driver):
    """``await client.videos.create_and_poll(…)``."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        import openai

        self.client: Any = openai.AsyncOpenAI(
            api_key="bench", base_url=f"{base_url}/openai/v1", timeout=self.request_timeout
        )

    async def start(self, prompt: str) -> None:
        await self.client.videos.create(prompt=prompt, model="sora-2")

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        if timeout is not None:
            raise NoDeadline
        given = {} if self.interval is None else {"poll_interval_ms": round(self.interval * 1000)}
        video = await self.client.videos.create_and_poll(prompt=prompt, model="sora-2", **given)
        return bool(video.status == "completed")

    async def aclose(self) -> None:
        await self.client.close()


class Comfy(Driver):
    """``await client.run(workflow)``: polls after 0.5 s, then at growing intervals of up to 5 s."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        os.environ["COMFY_BASE_URL"] = base_url
        import comfy_sdk
        from comfy_sdk import _core

        if self.interval is not None:
            # Its own pattern: first a tenth of the longest interval, then half as long again.
            _core.backoff_schedule.__defaults__ = (self.interval / 10, 1.5, self.interval)
        self.failed = comfy_sdk.JobFailed
        self.client = comfy_sdk.AsyncComfy(api_key="bench", timeout=self.request_timeout)

    def _flow(self, prompt: str) -> Any:
        graph = {"9": {"class_type": "Video", "inputs": {"prompt": prompt}}}
        return self.client.workflows.from_json(graph)

    async def start(self, prompt: str) -> None:
        await self.client.submit(self._flow(prompt))

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        try:
            await self.client.run(self._flow(prompt), timeout=timeout)
        except self.failed:
            return False
        return True

    async def aclose(self) -> None:
        await self.client.aclose()


class ComfyEvents(Comfy):
    """``async for event in job.events()``: one connection per job, then one poll."""

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        job = await self.client.submit(self._flow(prompt))
        async with asyncio.timeout(timeout):
            async for _ in job.events():
                pass
            await job.refresh()
        return bool(job.status == "succeeded")


class ByHandHttpx(Driver):
    """A typical loop: httpx, one detail request per job every 3 s, three attempts to start."""

    tries = 3

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        import httpx

        self.errors: Any = httpx.HTTPError
        self.client: Any = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": "Bearer bench"},
            timeout=self.request_timeout,
        )

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()["data"]

    async def _start(self, prompt: str) -> str:
        body = {
            "name": "job",
            "video_url": "https://media.example/in.mp4",
            "prompt": prompt,
            "negative_prompt": "blurry",
        }
        for left in reversed(range(self.tries)):
            try:
                return str((await self._call("POST", "/api/v1/talkingVideo/start", body))["_id"])
            except self.errors:
                if not left:
                    raise
                await asyncio.sleep(0.5)
        raise AssertionError

    async def start(self, prompt: str) -> None:
        await self._start(prompt)

    async def run(self, prompt: str, timeout: float | None = None) -> bool:
        if timeout is not None:
            raise NoDeadline
        id = await self._start(prompt)
        while True:
            await asyncio.sleep(3 if self.interval is None else self.interval)
            record = await self._call("GET", f"/api/v1/talkingVideo/{id}")
            if record["current_status"] in ("completed", "failed"):
                return bool(record["current_status"] == "completed")

    async def aclose(self) -> None:
        await self.client.aclose()


class ByHandAiohttp(ByHandHttpx):
    """The same with aiohttp."""

    def __init__(self, base_url: str, **options: Any) -> None:
        Driver.__init__(self, base_url, **options)
        import aiohttp

        self.errors = (aiohttp.ClientError, TimeoutError)
        self.client = aiohttp.ClientSession(
            base_url,
            headers={"Authorization": "Bearer bench"},
            timeout=aiohttp.ClientTimeout(total=self.request_timeout),
        )

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.client.request(method, path, json=body) as answer:
            answer.raise_for_status()
            return (await answer.json())["data"]

    async def aclose(self) -> None:
        await self.client.close()
