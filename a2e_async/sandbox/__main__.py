"""``python -m a2e_async.sandbox``: runs the sandbox until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence

from ._core.fault_options import inject_fault
from ._core.server import API_KEY, Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT, or the end of stdin; return the exit code 0."""
    options = _build_parser().parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options))
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m a2e_async.sandbox", description="The A2E service on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="API port; 0 for a free one")
    parser.add_argument("--speed", type=float, default=60.0, help="times faster than real time")
    parser.add_argument(
        "--seed", type=int, default=None, help="makes ids and durations reproducible"
    )
    parser.add_argument("--api-key", default=API_KEY, help="the token that requests must carry")
    parser.add_argument("--balance", type=int, default=100_000, help="initial balance in coins")
    parser.add_argument(
        "--make-results",
        choices=["auto", "pyav", "stdlib"],
        default="auto",
        help="backend that makes result files",
    )
    parser.add_argument("--tls", action="store_true", help="serve https, with a new certificate")
    parser.add_argument("--public-url", default=None, help="URL of a proxy or tunnel in front")
    parser.add_argument(
        "--fault", action="append", default=[], help="NAME or NAME,OPTION=VALUE,…; repeatable"
    )
    parser.add_argument(
        "--duration",
        action="append",
        default=[],
        help="KIND=SECONDS or KIND=MIN-MAX, before --speed; repeatable",
    )
    parser.add_argument("--kinds", default=None, help="TOML file with kinds of your own")
    parser.add_argument("--replay", default=None, help="report of a2e verify to play")
    parser.add_argument("--json", action="store_true", help="print one line of JSON when ready")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop at the end of stdin")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, done.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda _number, _frame: _request_stop(loop, done))
    if options.exit_with_parent:
        threading.Thread(target=_stop_at_end_of_stdin, args=(loop, done), daemon=True).start()
    sandbox = Sandbox(
        host=options.host,
        port=options.port,
        speed=options.speed,
        seed=options.seed,
        api_key=options.api_key,
        balance=options.balance,
        make_results=options.make_results,
        durations=dict(map(_parse_duration, options.duration)),
        tls=options.tls,
        public_url=options.public_url,
        kinds=options.kinds,
        replay=options.replay,
    )
    for text in options.fault:
        inject_fault(sandbox.faults, text)
    async with sandbox:
        _print_addresses(sandbox, is_json=options.json)
        await done.wait()


def _print_addresses(sandbox: Sandbox, *, is_json: bool) -> None:
    facts = {
        "base_url": sandbox.base_url,
        "storage_url": sandbox.storage_url,
        "local_url": sandbox.local_url,
        "api_key": sandbox.api_key,
        "ca_file": None if sandbox.ca_file is None else str(sandbox.ca_file),
        "pid": os.getpid(),
    }
    if is_json:
        text = json.dumps(facts)
    else:
        text = (
            f"A2E sandbox, {sandbox.speed:g} times faster than real time. To use it:\n"
            f"  export A2E_BASE_URL={sandbox.base_url}\n"
            f"  export A2E_API_KEY={sandbox.api_key}\n"
        )
        if sandbox.ca_file is not None:
            text += f"  export SSL_CERT_FILE={sandbox.ca_file}\n"
        if sandbox.local_url != sandbox.base_url:
            text += f"It listens on {sandbox.local_url}.\n"
        text += "Ctrl-C stops it."
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse_duration(text: str) -> tuple[str, float | tuple[float, float]]:
    """Return a kind and its service seconds from ``KIND=SECONDS`` or ``KIND=MIN-MAX``."""
    kind, _, seconds = text.partition("=")
    try:
        low, *rest = [float(part) for part in seconds.split("-")]
        high = rest.pop() if rest else low
    except ValueError:
        low = high = -1.0
        rest = []
    if not kind or rest or not 0 <= low <= high < math.inf:
        msg = f"--duration {text}: write KIND=SECONDS or KIND=MIN-MAX, such as face_swap=300-900"
        raise ValueError(msg)
    return kind, (low, high)


def _request_stop(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    loop.call_soon_threadsafe(done.set)


def _stop_at_end_of_stdin(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    # Read the descriptor directly: sys.stdin holds a lock that blocks interpreter shutdown.
    while os.read(0, 1024):
        pass
    _request_stop(loop, done)


if __name__ == "__main__":
    sys.exit(main())
