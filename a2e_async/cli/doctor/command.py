"""``doctor``: checks versions, key, address, network, clock and account."""

from collections.abc import Callable
from typing import Final

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.doctor import local_checks
from a2e_async.cli.doctor.finding import Finding, has_bad
from a2e_async.cli.runner import run_command

KEY_STATUSES: Final = ("401", "403")
"""How the fix of a finding begins if the service rejected the key."""


def doctor(*, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """Check the API key, the network and the account, and say how to fix each problem. Free."""

    async def work(context: CommandContext) -> int:
        results: list[Finding] = []

        def add(*findings: Finding) -> None:
            for finding in findings:
                results.append(finding)
                context.printer.out(finding.line())

        await _check(flags, add)
        bad = has_bad(results)
        context.printer.json({"ok": not bad, "checks": [finding.to_json() for finding in results]})
        if not bad:
            return exit_codes.OK
        key = any(
            f.what == "API key" or f.fix[:3] in KEY_STATUSES for f in results if f.level == "bad"
        )
        return exit_codes.KEY if key else exit_codes.SERVICE

    return run_command(flags, work)


async def _check(flags: ServiceFlags, add: Callable[..., None]) -> None:
    from a2e_async.cli.doctor import network_checks

    add(*local_checks.versions(), local_checks.decoder())
    key, finding = local_checks.api_key(flags.api_key_env)
    add(finding)
    url, finding = local_checks.address(flags.base_url)
    add(finding, *local_checks.own_kinds())
    if url is None:
        return
    add(local_checks.proxy(url))
    by_proxy = local_checks.proxy_for(url) is not None
    connection = await network_checks.check_connection(url, by_proxy=by_proxy)
    add(*connection)
    if has_bad(connection):
        return
    add(await network_checks.clock(url))
    if key is None:
        return
    from a2e_async._core.http.retry import RetryPolicy
    from a2e_async.cli.doctor.service_checks import check_service
    from a2e_async.client import A2E

    # One retry at most: the user wants to see what does not work now.
    retry = RetryPolicy(max_attempts=2)
    async with A2E(key, base_url=url, request_timeout=20, retry=retry) as a2e:
        add(*await check_service(a2e))
