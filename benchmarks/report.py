"""Write docs/benchmarks.md and its plots from the results of one run.

    python -m benchmarks.report [RESULTS]

`python -m benchmarks --docs` does it after its run.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.common import Row, to_markdown

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
PLOTS: Final = ROOT / "docs" / "benchmarks"


def write(results: Path) -> None:
    """Write the page and the plots."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "a2e", "svg.fonttype": "none", "font.size": 9})
    PLOTS.mkdir(exist_ok=True)
    found = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    rows = [Row(**row) for row in found["results"]["rows"]]
    head = found["results"]
    form = ", short form" if head["short"] else ""
    parts = [
        INTRO,
        "## All figures\n",
        to_markdown(f"{head['machine']}, {head['date']}{form}", rows),
        peers(found["peers"]),
        tick(found["tick"]),
        scale(found["scale"]),
        starts(found["starts"]),
    ]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


def _plots(columns: int = 2) -> Any:
    from matplotlib import pyplot as plt

    return plt.subplots(1, columns, figsize=(9, 3.6), layout="constrained")


def _save(figure: Any, name: str) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    path = PLOTS / f"{name}.svg"
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def _folded(head: list[str], rows: list[list[str]]) -> str:
    """Return a table that a reader opens."""
    summary = f"<details><summary>The {len(rows)} points</summary>"
    return f"{summary}\n\n{_table(head, rows)}\n</details>\n"


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return "" if value is None else form.format(value)


# -- the peers -----------------------------------------------------------------------------------


def peers(found: dict[str, Any]) -> str:
    """Return the section on the peers, and draw calls against delay."""
    clients = found["clients"]
    image = found["image"]
    lines: list[list[str]] = []
    figure, (looks, cpu) = _plots()
    for name, client in clients.items():
        for place, (setting, seen) in enumerate(client["jobs"].items()):
            laws = seen["laws"]
            lines.append(
                [
                    client["name"] if not place else "",
                    setting,
                    _number(seen["looks_per_job"], "{:.1f}"),
                    *(
                        f"{_number(laws[law]['mean_delay'])} ({_number(laws[law]['p95_delay'])})"
                        for law in laws
                    ),
                    _number(seen["cpu_ms_per_job"], "{:.1f}"),
                    ", ".join(sorted(set(seen["wrong"]))),
                ]
            )
            mark = "o" if name.startswith("ours") else "s" if client["weight"] else "^"
            for axes, value in ((looks, seen["looks_per_job"]), (cpu, seen["cpu_ms_per_job"])):
                if seen["mean_delay"] is None:
                    continue
                (dot,) = axes.plot(seen["mean_delay"], max(value, 0.01), mark, markersize=5)
                if not place:
                    axes.annotate(
                        client["name"],
                        (seen["mean_delay"], max(value, 0.01)),
                        xytext=(4, 4),
                        textcoords="offset points",
                        fontsize=6,
                        color=dot.get_color(),
                    )
    looks.set(xlabel="mean delay (s)", ylabel="looks per job", xscale="symlog", yscale="log")
    cpu.set(
        xlabel="mean delay (s)", ylabel="client CPU per job (ms)", xscale="symlog", yscale="log"
    )
    _save(figure, "peers")
    text = [
        "\n## Beside the peers\n",
        f"{2 * image['each']} jobs of {image['mean']:.0f} s on average (half lognormal, half of "
        f"two speeds), begun within {image['spread']:.0f} s, one in ten failing. A client that "
        "looks at each job by itself needs the same looks for each of 10,000; ours needs fewer the "
        "more there are. Delays in seconds, mean (p95).\n",
        _table(
            [
                "client",
                "setting",
                "looks per job",
                "delay, two speeds",
                "delay, lognormal",
                "CPU ms per job",
                "went wrong",
            ],
            lines,
        ),
        "![Looks and CPU per job against delay](benchmarks/peers.svg)\n",
        "Up: more work; right: later news. The named point of each client is its default. A held "
        "request or an event stream tells at once, at the price of one open connection for each "
        "job, which their pools bound at 100; A2E offers neither.\n",
        "### What a start costs when its answer is lost\n",
        f"The server takes (and charges) each request, and then the answer fails, up to "
        f"{max(c['charges']['drop']['calls'] for c in clients.values() if 'charges' in c)} times "
        "or until the client gives up. Charges, and what the caller got. comfy-sdk sends an "
        "idempotency key, which its service honours; A2E has none.\n",
        _table(
            ["client", *(FAULTS[what] for what in clients["ours"]["charges"])],
            [
                [c["name"], *(f"{s['charges']}: {s['got']}" for s in c["charges"].values())]
                for c in clients.values()
                if "charges" in c
            ],
        ),
        "### What a failed look and a time limit do\n",
        "One look answered 500; one dropped; all dropped for 3 s: whether the wait went on, or "
        "what it raised although the job was well. Then by how much a time limit of 2.5 s was "
        "passed, on a job that does not end, and when the service does not answer looks either "
        "(ours has one last look, of 5 s at most).\n",
        _table(
            [
                "client",
                *clients["ours"]["look_errors"],
                *(f"limit, {label}" for label in clients["ours"]["deadline"]),
            ],
            [
                [
                    c["name"],
                    *(seen["got"] for seen in c["look_errors"].values()),
                    *map(_over, c["deadline"].values()),
                ]
                for c in clients.values()
                if "look_errors" in c
            ],
        ),
        "### What a client weighs\n",
        "Memory per pending job (its caller's task and last record included), import, and what "
        "pip installs.\n",
        _table(
            ["client", "version", "KiB per job", "import ms", "own MB", "with all it needs"],
            [
                [
                    c["name"],
                    c["weight"]["version"],
                    _number(c["memory"][""]["bytes_per_job"] / 1024, "{:.1f}")
                    if "memory" in c
                    else "",
                    _number(c.get("import_ms"), "{:.0f}"),
                    _number(c["weight"]["own_bytes"] / 1e6, "{:.1f}"),
                    f"{c['weight']['bytes'] / 1e6:.0f} MB, {c['weight']['packages']} packages",
                ]
                for c in clients.values()
                if c["weight"]
            ],
        ),
        "How each is driven: "
        + "; ".join(f"{c['name']}: {c['call'].rstrip('.')}" for c in clients.values())
        + ".\n",
    ]
    if found["missing"]:
        text.append(f"Not installed, so left out: {', '.join(found['missing'])}.\n")
    return "\n".join(text)


def _over(seen: dict[str, Any]) -> str:
    if seen["over"] is None:
        return "none to set"
    if seen["got"] == "nothing":
        return f"more than {seen['over']:.0f} s"
    return f"{max(0.0, seen['over']):.2f} s"


# -- the tick ------------------------------------------------------------------------------------


def tick(found: dict[str, Any]) -> str:
    """Return the section on the tick, and draw its curves."""
    figure, panels = _plots()
    points = found["points"]
    for axes, pattern in zip(panels, ("steady", "burst"), strict=True):
        for law in dict.fromkeys(p["law"] for p in points):
            for window in (None, 0.5, 0.0):
                curve = [
                    p
                    for p in points
                    if (p["law"], p["pattern"], p["window"]) == (law, pattern, window)
                ]
                if not curve:
                    continue
                label = law if window is None else f"{law}, window {window:g} tick"
                style = "o-" if window is None else "x:"
                x = [p["mean_delay"] for p in curve]
                y = [p["calls_per_job"] for p in curve]
                (line,) = axes.plot(x, y, style, label=label, markersize=3, linewidth=1)
                for p in curve if window is None else ():
                    if p["tick"] == found["default"]:
                        axes.plot(
                            p["mean_delay"],
                            p["calls_per_job"],
                            "o",
                            markersize=8,
                            fillstyle="none",
                            color=line.get_color(),
                        )
        axes.set(
            title=pattern,
            xlabel="mean delay (s)",
            ylabel="looks per job",
            xscale="log",
            yscale="log",
        )
    panels[0].legend(fontsize=6)
    _save(figure, "tick")
    shown = [
        [
            p["law"],
            p["pattern"],
            f"{p['tick']:g}",
            _number(p["calls_per_job"]),
            _number(p["mean_delay"]),
            _number(p["p95_delay"]),
        ]
        for p in points
        if p["window"] is None
    ]
    return "\n".join(
        [
            "\n## The tick\n",
            f"{found['jobs']} jobs under a rate of {found['rate']:.0f}/s, in virtual time: looks "
            "per job against the mean delay, for ticks from 0.5 to 5 s. The ring is the default "
            f"of {found['default']:.0f} s.\n",
            "![Looks per job against delay, over ticks and windows](benchmarks/tick.svg)\n",
            "- A call that is due takes along everything of its kind. A narrower window costs more "
            "looks at the same tick and tells no sooner; without any (0) the looks no longer fit "
            "into their half of the rate.",
            "- With everything in one call the curve is a plain trade: half the tick, half the "
            "delay, twice the looks. At 2 s half a look per job buys a mean delay of a second; "
            "who wants the news sooner sets `poll_interval=1` and pays for twice the looks.",
            "- A tick fitted to durations gains nothing here: one call serves all jobs, so there "
            "is always one that is about to end.\n",
            _folded(
                ["population", "pattern", "tick s", "looks per job", "mean delay s", "p95 s"], shown
            ),
        ]
    )


# -- scale ---------------------------------------------------------------------------------------


def scale(found: dict[str, Any]) -> str:
    """Return the section on scale, and draw its curves."""
    figure, (cpu, delay) = _plots()
    for paced in (True, False):
        for loop in ("asyncio", "uvloop"):
            curve = sorted(
                (p for p in found["points"] if p["paced"] is paced and p["loop"] == loop),
                key=lambda p: p["waits"],
            )
            label = f"{loop}, {'10 calls/s' if paced else 'no rate'}"
            x = [p["waits"] for p in curve]
            cpu.plot(
                x,
                [p["cpu"] * 100 for p in curve],
                "o-" if paced else "s--",
                label=label,
                markersize=3,
                linewidth=1,
            )
            delay.plot(
                x,
                [p["mean_delay"] for p in curve],
                "o-" if paced else "s--",
                markersize=3,
                linewidth=1,
            )
    cpu.set(xlabel="waits", ylabel="% of a core", xscale="log", yscale="log")
    delay.set(xlabel="waits", ylabel="mean delay (s)", xscale="log", yscale="log")
    cpu.legend(fontsize=7)
    _save(figure, "scale")
    rows = [
        [
            f"{p['waits']:,}",
            "10/s" if p["paced"] else "none",
            p["loop"],
            _number(p["cpu"] * 100),
            _number(p["besides_decoding"] * 100),
            _number(p["calls_per_s"]),
            _number(p["bytes_per_wait"] / 1024),
            _number(p["mean_delay"]),
        ]
        for p in sorted(found["points"], key=lambda p: (not p["paced"], p["loop"], p["waits"]))
    ]
    return "\n".join(
        [
            "\n## From 10 to 50,000 waits\n",
            "![CPU and delay over the number of waits](benchmarks/scale.svg)\n",
            "Up to 1,000 waits (5 calls each 2 s) nothing but the number of records grows. At the "
            "default rate the looks then reach their half of it: beyond 2,000 waits the tick is "
            "stretched, by design, so that 10,000 are looked at each 10 s and 50,000 each 50 s, "
            "and the CPU stays where it is. (A count over 1.4 such rounds holds one or two of "
            "them: its calls/s are 5 to 7, on average 5.) Without a rate the CPU goes with the "
            "records read.\n",
            _folded(
                [
                    "waits",
                    "rate",
                    "loop",
                    "% of a core",
                    "besides decoding",
                    "calls/s",
                    "KiB per wait, all in",
                    "mean delay s",
                ],
                rows,
            ),
        ]
    )


def starts(found: dict[str, Any]) -> str:
    """Return the section on starts."""
    names = {"bare": "bare aiohttp POST", "ours": "ours", "journal": "ours, with a journal"}
    rows = [
        [
            f"{p['server_ms']} ms",
            p["loop"],
            names[name],
            _number(c["p50"] * 1000, "{:.1f}"),
            _number(c["per_s"], "{:,.0f}"),
            _number(c["cpu"] * 1e6, "{:.0f}"),
        ]
        for p in found["points"]
        for name, c in p["clients"].items()
    ]
    return "\n".join(
        [
            "\n## The way of a start\n",
            "50 at once, in one process. When the server answers at once the latency is 50 times "
            "the CPU of one start, checks, hashes and marks included; a service that takes 100 ms "
            "hides most of it.\n",
            _table(["server takes", "loop", "client", "p50 ms", "starts/s", "CPU us"], rows),
        ]
    )


FAULTS: Final = {
    "drop": "connection drops",
    "503": "503",
    "429": "429 once (not taken)",
    "hang": "no answer in 1 s",
}

INTRO: Final = """\
# Benchmarks

Made by `python -m benchmarks --docs`, which runs everything in about a quarter of an hour and
writes this page; `--short` shows that it still runs. What each measures, and what it does not,
stands in `benchmarks/README.md`. Ratios within one run say something; figures
of different machines do not compare. The server stands on the loopback and answers at once.
"""


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results")
