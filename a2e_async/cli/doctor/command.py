"""The command ``doctor``."""

from collections.abc import Callable
from typing import Final

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.doctor import machine
from a2e_async.cli.doctor.findings import Finding, has_bad
from a2e_async.cli.settings import Online

REFUSED: Final = ("401", "403")
"""What a finding about a key that was not accepted begins its advice with."""


def doctor(*, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Check key, network and account without spending anything, and say how to mend them."""

    async def work(desk: Desk) -> int:
        found: list[Finding] = []

        def say(*findings: Finding) -> None:
            for finding in findings:
                found.append(finding)
                desk.printer.out(finding.line())

        await _examine(desk, settings, say)
        bad = has_bad(found)
        desk.printer.json({"ok": not bad, "checks": [finding.to_json() for finding in found]})
        if not bad:
            return exits.OK
        key = any(f.what == "API key" or f.mend[:3] in REFUSED for f in found if f.level == "bad")
        return exits.KEY if key else exits.SERVICE

    return conduct(settings, work)


async def _examine(desk: Desk, settings: Online, say: Callable[..., None]) -> None:
    from a2e_async.cli.doctor import network

    say(*machine.versions(), machine.decoder())
    key, said = machine.api_key(settings.api_key_env)
    say(said)
    url, said = machine.address(settings.base_url)
    say(said)
    if url is None:
        return
    say(machine.proxy(url))
    by_proxy = machine.proxy_for(url) is not None
    way = await network.reach(url, by_proxy=by_proxy)
    say(*way)
    if has_bad(way):
        return
    say(await network.clock(url))
    if key is None:
        return
    from a2e_async.cli.doctor.service import look
    from a2e_async.client import A2E
    from a2e_async.transport.retry import RetryPolicy

    # Tried once again at most: what does not answer now is what is to be told.
    retry = RetryPolicy(max_attempts=2)
    async with A2E(key, base_url=url, request_timeout=20, retry=retry) as a2e:
        say(*await look(a2e))
