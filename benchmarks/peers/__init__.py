"""Comparison with other clients, on the same jobs and in the same run.

One server speaks all protocols (`server`). Each client runs in a separate process, through its own
documented waiting call (`drivers`). The packages are in the extra `bench`; clients that are not
installed are skipped and listed as missing.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final

from attrs import frozen

from benchmarks import polling
from benchmarks.common import Row, keep
from benchmarks.peers.clients import CLIENTS, Client
from benchmarks.peers.weight import import_times, weigh

FAULTS: Final = {
    "drop": "the connection drops",
    "503": "a 503",
    "429": "a 429",
    "hang": "no response",
}
LIMIT: Final = 2.5
"""Timeout in seconds whose overshoot is measured."""


def installed() -> list[str]:
    """Return the clients whose package is installed."""
    found: dict[str, bool] = {}
    for name, client in CLIENTS.items():
        module = client.code.split()[1] if client.code else ""
        # A second way to drive a package follows the first in the table.
        found[name] = bool(importlib.util.find_spec(module)) if module else list(found.values())[-1]
    return [name for name, there in found.items() if there]


@contextmanager
def server() -> Iterator[str]:
    """Run the server in a separate process; yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.server"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def child(name: str, mode: str, **options: Any) -> dict[str, Any]:
    """Run one client in a separate process, against its own server."""
    command = [sys.executable, "-m", "benchmarks.peers.child", name, mode]
    with server() as base_url:
        done = subprocess.run(
            [*command, base_url, json.dumps(options)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    if done.returncode:
        raise RuntimeError(f"{name} {mode} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def side_by_side(tasks: Iterable[tuple[Any, ...]], parallel: int) -> dict[tuple[str, str], Any]:
    """Run children, ``parallel`` at once; return their results by client and label."""

    def one(task: tuple[Any, ...]) -> tuple[tuple[str, str], Any]:
        name, label, mode, options = task
        return (name, label), child(name, mode, **options)

    with ThreadPoolExecutor(parallel) as pool:
        return dict(pool.map(one, tasks))


def settings(client: Client) -> dict[str, float | None]:
    """Return the settings of a client in the table: its default and its best."""
    both: dict[str, float | None] = {client.default: None}
    if client.best:
        both[client.best] = client.best_interval
    return both


@frozen
class Stage:
    """One measurement of every client: the mode of `child`, and its options by label."""

    mode: str
    clients: list[str]
    options: dict[str, dict[str, Any]]
    parallel: int
    """How many clients run at the same time; few if delays are measured."""


def stages(names: list[str], short: bool) -> dict[str, Stage]:
    """Return the measurements. The short form omits the slow ones."""
    polling = [name for name in names if CLIENTS[name].best]
    packages = [name for name in names if CLIENTS[name].package]
    some = [name for name in packages if not short or name in ("ours", "fal", "aiohttp")]
    # The same distribution with 90 s jobs on a clock ten times faster: all poll every second.
    video = {"each": 20, "mean": 90.0, "spread": 10.0, "speed": 10.0, "interval": 0.1}
    patience = 5.0 if short else 30.0
    lost = {"times": 3 if short else 12, "patience": patience, "request_timeout": 30.0}
    charges = {
        "drop": {**lost, "what": "drop"},
        "503": {**lost, "what": "503"},
        "429": {**lost, "what": "429", "times": 1},
        "hang": {**lost, "what": "hang", "request_timeout": 1.0},
    }
    wait = {"job": 4.0, "patience": 20.0, "interval": 0.5}
    poll_errors = {
        "500": {**wait, "what": "500", "times": 1},
        "reset": {**wait, "what": "drop", "times": 1},
        "outage": {**wait, "what": "drop", "seconds": 3},
    }
    limit = {"limit": LIMIT, "patience": LIMIT + 12}
    deadlines = {"stuck": {**limit, "hang": False}, "hang": {**limit, "hang": True}}
    memory = {"": {"count": 300 if short else 2000, "interval": 3600.0}}
    if short:
        video |= {"each": 4, "mean": 20.0}
        charges = {"drop": charges["drop"]}
        poll_errors = {"500": {**poll_errors["500"], "job": 2.0}}
        deadlines = {"stuck": deadlines["stuck"]}
    return {
        "long": Stage("jobs", some if short else polling, {"": video}, 3),
        "charges": Stage("charges", some, charges, 4),
        "failed_polls": Stage("failed_poll", some, poll_errors, 4),
        "deadline": Stage("deadline", some, deadlines, 4),
        # Without the clients that hold one connection per job.
        "memory": Stage("memory", some if short else polling, memory, 2),
    }


def measure(short: bool) -> dict[str, Any]:
    """Return all measurements of all clients."""
    names = installed()
    image = (
        {"each": 5, "mean": 1.5, "spread": 1.0}
        if short
        else {"each": 20, "mean": 6.0, "spread": 5.0}
    )
    jobs = side_by_side(
        (
            (name, label, "jobs", {**image, "speed": 1, "interval": interval})
            for name in names
            for label, interval in settings(CLIENTS[name]).items()
            if not short or interval is None
        ),
        6 if short else 4,
    )
    found: dict[str, Any] = {}
    for name in names:
        client = CLIENTS[name]
        found[name] = {
            "name": client.name,
            "call": (client.driver.__doc__ or "").strip(),
            "push": client.push,
            "jobs": {label: _jobs(seen) for (of, label), seen in jobs.items() if of == name},
            "weight": weigh(client.package) if client.package else None,
        }
    for title, stage in stages(names, short).items():
        tasks = [
            (name, label, stage.mode, dict(options))
            for name in stage.clients
            for label, options in stage.options.items()
        ]
        for (name, label), seen in side_by_side(tasks, stage.parallel).items():
            found[name].setdefault(title, {})[label] = _jobs(seen) if stage.mode == "jobs" else seen
    for name, ms in import_times(names, 1 if short else 7).items():
        found[name]["import_ms"] = ms
    missing = sorted({CLIENTS[n].name for n in CLIENTS if n not in names})
    return {"image": image, "clients": found, "missing": missing}


def _jobs(seen: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a population: overall means, and delays by distribution."""
    delays = {law: sorted(values) for law, values in seen.pop("delays").items()}
    everything = sorted(value for values in delays.values() for value in values)
    return {
        **seen,
        **_spread(everything),
        "laws": {law: _spread(values) for law, values in sorted(delays.items())},
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"mean_delay": None, "p95_delay": None}
    return {
        "mean_delay": statistics.fmean(values),
        "p95_delay": values[min(len(values) - 1, int(len(values) * 0.95))],
    }


def run(short: bool) -> list[Row]:
    """Return the results compared to the best peer; store all of them for the docs."""
    found = measure(short)
    keep("peers", found)
    ours = found["clients"]["ours"]
    peers = [
        client
        for name, client in found["clients"].items()
        if name not in ("ours", "ours-list", "httpx", "aiohttp")
    ]
    most = {"goal": "1", "ratio": None}
    return [
        *_row(
            peers,
            "polls per 90 s task at 1 s; ours with 1,000 in flight",
            lambda client: client["long"][""]["polls_per_job"],
            polling.found(short)["calls_per_job"],
            "{:.2f}",
            20,
        ),
        *(
            Row(
                what=f"charges for one start: {FAULTS[what]} after each acceptance",
                peer=max(pairs)[1],
                peer_value=str(max(pairs)[0]),
                ours=str(seen["charges"]),
                reached=seen["charges"] == 1,
                **most,
            )
            for what, seen in ours["charges"].items()
            if what != "429"
            and (
                pairs := [
                    (c["charges"][what]["charges"], c["name"])
                    for c in peers
                    if what in c.get("charges", {})
                ]
            )
        ),
        *_row(
            peers,
            "memory per pending task, including the caller's asyncio task and the last record",
            lambda client: client["memory"][""]["bytes_per_job"] / 1024,
            ours["memory"][""]["bytes_per_job"] / 1024,
            "{:.1f} KiB",
        ),
        *_row(
            peers,
            "import of the client class",
            lambda client: client["import_ms"],
            ours["import_ms"],
            "{:.0f} ms",
        ),
    ]


def _row(
    peers: list[dict[str, Any]],
    what: str,
    value: Callable[[dict[str, Any]], float],
    ours: float,
    form: str,
    times: float = 1,
) -> list[Row]:
    """Return the row that compares with the peer of the lowest value, if there is any."""
    values: list[tuple[float, str]] = []
    for client in peers:
        with suppress(KeyError):
            values.append((value(client), client["name"]))
    if not values:
        return []
    least, name = min(values)
    return [
        Row(
            what=what,
            peer=f"{name}, the best",
            peer_value=form.format(least),
            ours=form.format(ours),
            ratio=ours / least,
            goal=f"<= {1 / times:.2g}x",
            reached=ours * times <= least,
        )
    ]
