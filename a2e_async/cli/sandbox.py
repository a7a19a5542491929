"""``sandbox``: a simulator of the service on this machine, in the foreground."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.known_kinds import VARIABLE
from a2e_async.cli.printer import Printer
from a2e_async.cli.runner import report_error
from a2e_async.errors import ConfigurationError


def sandbox(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        Parameter(
            help="Port of the API; 0 chooses a free one.",
            validator=validators.Number(gte=0, lte=65535),
        ),
    ] = 0,
    speed: Annotated[
        float, Parameter(help="How many times faster than in real time tasks run.")
    ] = 60,
    seed: Annotated[int | None, Parameter(help="Seed that makes runs repeatable.")] = None,
    tls: Annotated[
        bool,
        Parameter(
            help="Serve https. SSL_CERT_FILE, as printed, makes clients trust it.", negative=""
        ),
    ] = False,
    public_url: Annotated[
        str | None,
        Parameter(help="URL of a proxy or tunnel in front; all URLs in responses begin with it."),
    ] = None,
    api_key: Annotated[
        str | None, Parameter(help="The token that requests must carry; default: sandbox-key.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        Parameter(
            help="Inject a fault: NAME or NAME,OPTION=VALUE,... such as"
            " http_error,status=503,times=2. Repeatable.",
            negative="",
        ),
    ] = None,
    duration: Annotated[
        list[str] | None,
        Parameter(
            help="How long tasks of a kind take, in seconds before --speed: KIND=SECONDS or"
            " KIND=MIN-MAX. Repeatable.",
            negative="",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        Parameter(help="Report of a2e verify; responses have the shapes that it recorded."),
    ] = None,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Run a simulated A2E service on this machine until Ctrl-C. Free, offline.

    It also simulates the kinds of the file in A2E_KINDS.
    """
    from a2e_async.sandbox.__main__ import main as serve

    arguments = ["--host", host, "--port", str(port), "--speed", str(speed)]
    for flag, value in {"--seed": seed, "--public-url": public_url, "--api-key": api_key}.items():
        arguments += [] if value is None else [f"{flag}={value}"]
    arguments += ["--tls"] if tls else []
    arguments += [f"--fault={text}" for text in fault or ()]
    arguments += [f"--duration={text}" for text in duration or ()]
    arguments += [] if replay is None else [f"--replay={replay}"]
    own = os.environ.get(VARIABLE, "").strip()
    arguments += ["--kinds", own] if own else []
    try:
        return serve([*arguments, "--json"] if flags.json else arguments)
    except (OSError, ConfigurationError) as error:
        reported: Exception = error
    except (ValueError, OverflowError, RuntimeError) as error:  # the sandbox's own, for options
        reported = ConfigurationError(str(error))
    context = CommandContext(flags=flags, printer=Printer(as_json=flags.json))
    return report_error(reported, context)
