"""The app of the workers that the tests and the benchmark start; all is told by the environment."""

import os

from a2e_async import A2E
from a2e_async.contrib.procrastinate import make_app

URL = os.environ["A2E_FLEET_URL"]
RATE, BURST = (float(part) for part in os.environ["A2E_FLEET_RATE"].split(","))

app = make_app(
    URL,
    client=lambda: A2E(journal=URL, rate=RATE, burst=int(BURST), poll_interval=1),
    download_to=os.environ["A2E_FLEET_OUT"],
    dead_after=3,
    sweep="* * * * * */2",
)
