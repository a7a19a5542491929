"""The population of jobs that every client runs: seeded durations, some failures."""

import math
import random
import re
from statistics import NormalDist
from typing import Final

from attrs import frozen

SIGMA: Final = 0.5
FAILS: Final = 0.1
"""The fraction of jobs that fail, after half of their duration."""

_PROMPT: Final = re.compile(rb"job (\d+) of (\d+) ms (ends|fails)")


@frozen
class Job:
    """One job: ``begins`` and ``seconds`` in real seconds."""

    number: int
    law: str
    begins: float
    seconds: float
    fails: bool

    @property
    def prompt(self) -> str:
        """The text that tells the server, in any protocol, how long the job takes."""
        end = "fails" if self.fails else "ends"
        return f"job {self.number} of {self.seconds * 1000:.0f} ms {end}"


def read_prompt(body: bytes) -> tuple[int, float, bool] | None:
    """Return number, seconds and failure of the job requested by a request body."""
    found = _PROMPT.search(body)
    return (int(found[1]), int(found[2]) / 1000, found[3] == b"fails") if found else None


def lognormal(mean: float, share: float) -> float:
    """Return the ``share`` quantile of a lognormal distribution."""
    return math.exp(math.log(mean) - SIGMA**2 / 2 + SIGMA * NormalDist().inv_cdf(share))


def bimodal(mean: float, share: float) -> float:
    """Return the ``share`` quantile of two groups, the second four times slower."""
    fast = mean / 2.5
    low = share < 0.5
    within = 2 * share if low else 2 * share - 1
    return (fast if low else 4 * fast) * (0.8 + 0.4 * within)


LAWS: Final = {"lognormal": lognormal, "bimodal": bimodal}


def population(
    each: int, mean: float, spread: float, *, speed: float = 1, seed: int = 1
) -> list[Job]:
    """Return ``each`` jobs of both distributions, mean ``mean`` s, begun within ``spread`` s.

    Durations are quantiles, so that few jobs represent the whole distribution; only order, start
    times and failures are random. ``speed`` divides all times.
    """
    rng = random.Random(seed)
    jobs: list[Job] = []
    for law, quantile in LAWS.items():
        shares = [(n + 0.5) / each for n in range(each)]
        rng.shuffle(shares)
        failing = set(rng.sample(range(each), round(each * FAILS)))
        for n, share in enumerate(shares):
            seconds = quantile(mean, share) * (0.5 if n in failing else 1)
            jobs.append(
                Job(
                    number=len(jobs) + 1,
                    law=law,
                    begins=rng.random() * spread / speed,
                    seconds=seconds / speed,
                    fails=n in failing,
                )
            )
    return jobs
