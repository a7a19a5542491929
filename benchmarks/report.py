"""Write docs/benchmarks.md and its plots from the results of one run.

    python -m benchmarks.report [RESULTS]

`python -m benchmarks --docs` does the same after its run.
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
    """Return a table that is collapsed by default."""
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
    looks.set(xlabel="mean delay (s)", ylabel="polls per job", xscale="symlog", yscale="log")
    cpu.set(
        xlabel="mean delay (s)", ylabel="client CPU per job (ms)", xscale="symlog", yscale="log"
    )
    _save(figure, "peers")
    text = [
        "\n## Other clients\n",
        f"{2 * image['each']} jobs of {image['mean']:.0f} s on average (half lognormal, half of "
        f"two speeds), begun within {image['spread']:.0f} s, one in ten failing. A client that "
        "polls each job separately needs as many polls per job for 10,000 jobs; with a2e_async the "
        "polls per job decrease. Delays are in seconds, mean (p95).\n",
        _table(
            [
                "client",
                "setting",
                "polls per job",
                "delay, two speeds",
                "delay, lognormal",
                "CPU ms per job",
                "errors",
            ],
            lines,
        ),
        "![Polls and CPU per job against delay](benchmarks/peers.svg)\n",
        "Higher means more work, further right means a longer delay. The labelled point of each "
        "client is its default. A long-polling request or an event stream reports the end at "
        "once, but needs one open connection per job, and their pools are limited to 100; A2E "
        "offers neither.\n",
        "### Charges when the response to a start is lost\n",
        f"The server accepts (and charges) each request, and then the response fails, up to "
        f"{max(c['charges']['drop']['calls'] for c in clients.values() if 'charges' in c)} times "
        "or until the client gives up. The table shows the charges and the caller's result. "
        "comfy-sdk sends an idempotency key, which its service honours; A2E has none.\n",
        _table(
            ["client", *(FAULTS[what] for what in clients["ours"]["charges"])],
            [
                [c["name"], *(f"{s['charges']}: {s['got']}" for s in c["charges"].values())]
                for c in clients.values()
                if "charges" in c
            ],
        ),
        "### Failed polls and timeouts\n",
        "One poll gets a 500, one is dropped, or all are dropped for 3 s: the table shows whether "
        "the wait continued, or what it raised although the job succeeded. Then: by how much a "
        "timeout of 2.5 s was exceeded, for a job that does not end, and if the service does not "
        "respond to polls either (a2e_async makes one last poll of at most 5 s).\n",
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
        "### Size, import time and memory\n",
        "Memory per pending job (including its caller's task and last record), import time, and "
        "what pip installs.\n",
        _table(
            ["client", "version", "KiB per job", "import ms", "own MB", "with dependencies"],
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
        "The call measured for each client: "
        + "; ".join(f"{c['name']}: {c['call'].rstrip('.')}" for c in clients.values())
        + ".\n",
    ]
    if found["missing"]:
        text.append(f"Not installed, so not measured: {', '.join(found['missing'])}.\n")
    return "\n".join(text)


def _over(seen: dict[str, Any]) -> str:
    if seen["over"] is None:
        return "no timeout"
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
            ylabel="polls per job",
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
            f"{found['jobs']} jobs with a rate limit of {found['rate']:.0f}/s, in virtual time: "
            "polls per job against the mean delay, for ticks from 0.5 to 5 s. The ring marks the "
            f"default of {found['default']:.0f} s.\n",
            "![Polls per job against delay, by tick and window](benchmarks/tick.svg)\n",
            "- A poll that is due includes all tasks of its kind. With a narrower window there are "
            "more polls at the same tick and no shorter delay; with a window of 0 the polls exceed "
            "their half of the rate.",
            "- With all tasks in one request, half the tick means half the delay and twice the "
            "polls. At 2 s the mean delay is one second with half a poll per job; "
            "`poll_interval=1` halves the delay with twice the polls.",
            "- A tick adapted to task durations would not help: one request serves all jobs, and "
            "some job is always about to end.\n",
            _folded(
                ["population", "pattern", "tick s", "polls per job", "mean delay s", "p95 s"], shown
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
            "Up to 1,000 waits (5 requests every 2 s) only the number of records grows. At the "
            "default rate limit the polls then reach their half of the rate: beyond 2,000 waits "
            "the tick is extended, by design, so that 10,000 are polled every 10 s and 50,000 "
            "every 50 s, and the CPU stays constant. (A measurement covers 1.4 such rounds and so "
            "contains one or two of them: 5 to 7 calls/s, 5 on average.) Without a rate limit the "
            "CPU is proportional to the records decoded.\n",
            _folded(
                [
                    "waits",
                    "rate",
                    "loop",
                    "% of a core",
                    "without decoding",
                    "calls/s",
                    "KiB per wait, total",
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
            "\n## Starts\n",
            "50 at once, in one process. If the server responds at once, the latency is 50 times "
            "the CPU of one start, including checks, hashes and names; with a service that takes "
            "100 ms most of it is hidden.\n",
            _table(["server takes", "loop", "client", "p50 ms", "starts/s", "CPU us"], rows),
        ]
    )


FAULTS: Final = {
    "drop": "connection drops",
    "503": "503",
    "429": "429 once (not accepted)",
    "hang": "no response in 1 s",
}

INTRO: Final = """\
# Benchmarks

Generated by `python -m benchmarks --docs`, which runs all benchmarks in about a quarter of an hour
and writes this page. `benchmarks/README.md` says what each one measures, and what it does not.
Compare ratios within one run, not numbers from different machines. The server runs on the loopback
interface and responds at once.
"""


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results")
