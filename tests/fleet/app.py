"""The worker app that the tests and the benchmark start, configured by the environment."""

import os

from a2e_async import A2E
from a2e_async._core.submission import executor, recovery_search
from a2e_async.contrib.procrastinate import make_app

# The sandbox lists a start at once: a longer wait would prove nothing more.
recovery_search.SCAN_DELAYS = (0.5, 1.0, 2.0)  # type: ignore[misc]  # a test is not patient
executor.MIN_AGE_FOR_RESEND = 4.0  # type: ignore[misc]  # a test is not patient

URL = os.environ["A2E_FLEET_URL"]
RATE, BURST = (float(part) for part in os.environ["A2E_FLEET_RATE"].split(","))


def client() -> A2E:
    """Return the client of one worker."""
    return A2E(
        journal=URL,
        rate=RATE,
        burst=int(BURST),
        poll_interval=1,
        # A worker that dies just before it sends leaves a start that is in no list.
        on_unknown="resend_may_pay_twice",
    )


app = make_app(
    URL,
    client=client,
    download_to=os.environ["A2E_FLEET_OUT"],
    dead_after=3,
    sweep="* * * * * */2",
)
