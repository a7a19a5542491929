"""The compared clients: their packages and settings."""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from benchmarks.peers import drivers
from benchmarks.peers.drivers import Driver


@frozen
class Client:
    """A client in the comparison."""

    name: str
    driver: Callable[..., Driver]
    package: str
    """The distribution whose version, size and import time are measured."""
    code: str
    """The import statement that its users write."""
    default: str
    """A description of its default behaviour."""
    best: str
    """The setting for about half a second of delay; empty if there is no other setting."""
    best_interval: float | None = 1.0
    push: str = ""
    """The push mechanisms of its protocol, and whether the waiting call uses them."""


CLIENTS: Final = {
    "ours": Client(
        "a2e_async",
        drivers.Ours,
        "a2e-async",
        "from a2e_async import A2E",
        "2 s, all tasks in one request",
        "1 s, all tasks in one request",
        push="webhooks",
    ),
    "ours-list": Client(
        "a2e_async, no batchDetail",
        drivers.OursWithoutBatch,
        "",
        "",
        "2 s, one list for all tasks",
        "1 s, one list for all tasks",
    ),
    "fal": Client(
        "fal-client",
        drivers.Fal,
        "fal-client",
        "import fal_client",
        "subscribe: 0.1 s",
        "subscribe: interval=1",
        push="webhooks; status as SSE, which subscribe does not use",
    ),
    "replicate": Client(
        "replicate",
        drivers.ReplicatePolling,
        "replicate",
        "import replicate",
        "async_run(wait=False): 0.5 s",
        "poll_interval = 1",
        push="webhooks; SSE of a model's output",
    ),
    "replicate-held": Client(
        "replicate, held request",
        drivers.Replicate,
        "",
        "",
        "async_run: one request held for up to 60 s, then 0.5 s",
        "",
        None,
        push="the held request",
    ),
    "runwayml": Client(
        "runwayml",
        drivers.Runway,
        "runwayml",
        "import runwayml",
        "wait_for_task_output: 4.5 to 7.5 s",
        "1 s (a constant changed)",
        push="none",
    ),
    "openai": Client(
        "openai",
        drivers.OpenAI,
        "openai",
        "import openai",
        "create_and_poll: 1 s",
        "poll_interval_ms=2000",
        2.0,
        push="webhooks",
    ),
    "comfy-sdk": Client(
        "comfy-sdk",
        drivers.Comfy,
        "comfy-sdk",
        "import comfy_sdk",
        "run: 0.5 s, growing to 5 s",
        "growing to 1 s (a default changed)",
        push="SSE, which run does not use",
    ),
    "comfy-events": Client(
        "comfy-sdk, events",
        drivers.ComfyEvents,
        "",
        "",
        "events: one connection per job",
        "",
        None,
        push="SSE",
    ),
    "httpx": Client(
        "by hand, httpx",
        drivers.ByHandHttpx,
        "httpx",
        "import httpx",
        "3 s",
        "1 s",
    ),
    "aiohttp": Client(
        "by hand, aiohttp",
        drivers.ByHandAiohttp,
        "aiohttp",
        "import aiohttp",
        "3 s",
        "1 s",
    ),
}
