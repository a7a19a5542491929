"""Write docs/benchmarks.md, its plots and the README's table from complete results.

    python -m benchmarks.report [RESULTS]

`python -m benchmarks --docs --readme` does the same after a run.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from attrs import fields

from benchmarks.common import Row, to_markdown

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
PLOTS: Final = ROOT / "docs" / "benchmarks"
README: Final = ROOT / "README.md"

TABLES: Final = {
    ROOT / "docs" / "how-to" / "fleet.md": "fleet",
    ROOT / "docs" / "how-to" / "web-app.md": "sse",
    ROOT / "docs" / "how-to" / "webhooks.md": "webhooks",
}
"""Pages with the table of one benchmark, between the same marks as in the README."""

TEXT: Final = "#787c83"
"""Colour of axes and labels: legible on the light and on the dark background of the docs."""

COLOURS: Final = (*(f"C{n}" for n in range(10)), "#b8860b", "#5f9ea0")
"""One for each client of the comparison: matplotlib's ten would repeat."""

README_ROWS: Final = (
    "charges for one start: connection drops after acceptance",
    "polls per task, ",
    "mean delay after the actual end (p95)",
    "start to accepted with journal, 50 concurrent, p50, server: 100 ms",
    "client CPU per detail request, 50 concurrent",
)
"""Beginnings of the five rows that the README shows."""


def write(results: Path) -> None:
    """Write the page, its plots, and the tables of other pages."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "a2e",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 9,
            "savefig.transparent": True,
            "axes.edgecolor": TEXT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "legend.fontsize": 7.5,
            **dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
                TEXT,
            ),
        }
    )
    PLOTS.mkdir(exist_ok=True)
    found = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    parts = [
        INTRO,
        peers(found["peers"]),
        tick(found["tick"]),
        scale(found["scale"]),
        starts(found["starts"]),
        "\n## All figures\n",
        to_markdown(_title(found["results"]), _rows(found["results"])),
    ]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")
    for page, shown in shown_results(found["results"]).items():
        if page != README:
            page.write_text(with_table(page.read_text(), shown))


def write_readme(results: Path) -> None:
    """Write the table of the README."""
    shown = shown_results(json.loads((results / "results.json").read_text()))
    README.write_text(with_table(README.read_text(), shown[README]))


def shown_results(head: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the results that the README and other pages show, by page."""
    found = head["rows"]
    chosen = [
        next(row for row in found if row["what"].strip().startswith(begin)) for begin in README_ROWS
    ]
    tables = {
        page: [row for row in found if row["benchmark"] == benchmark]
        for page, benchmark in TABLES.items()
    }
    return {page: {**head, "rows": rows} for page, rows in {README: chosen, **tables}.items()}


def with_table(text: str, head: dict[str, Any]) -> str:
    """Return a page with its table, between the two marks, replaced by that of the results."""
    begin, end = "<!-- benchmarks -->", "<!-- /benchmarks -->"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{to_markdown(_title(head), _rows(head))}\n{end}{after}"


def _title(head: dict[str, Any]) -> str:
    """Return the machine and the date; both dates if benchmarks were measured again later."""
    dates = sorted({row["date"] for row in head["rows"]})
    period = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"{head['machine']}, {period}{', short form' if head['short'] else ''}"


def _rows(head: dict[str, Any]) -> list[Row]:
    names = {field.name for field in fields(Row)}
    return [Row(**{n: v for n, v in row.items() if n in names}) for row in head["rows"]]


def _plot() -> Any:
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(4.4, 3.5), layout="constrained")


def _plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis at its powers of ten only, without exponents."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(figure: Any, name: str) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    path = PLOTS / f"{name}.svg"
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _beside(plots: dict[str, str]) -> str:
    """Return plots, each with its description, side by side, or stacked on a narrow screen."""
    cells = (
        f":::{{grid-item}}\n![{text}](benchmarks/{name}.svg)\n:::" for name, text in plots.items()
    )
    return "\n".join(["::::{grid} 1 1 2 2", ":gutter: 2", *cells, "::::", ""])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def _folded(head: list[str], rows: list[list[str]]) -> str:
    """Return a table that is collapsed at first."""
    summary = f"<details><summary>All {len(rows)} points</summary>"
    return f"{summary}\n\n{_table(head, rows)}\n</details>\n"


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return "" if value is None else form.format(value)


# -- the peers -----------------------------------------------------------------------------------


def peers(found: dict[str, Any]) -> str:
    """Return the section on the peers, and plot polls and CPU against delay."""
    clients = found["clients"]
    image = found["image"]
    lines: list[list[str]] = []
    colours: dict[str, str] = {}
    (polls_figure, polls), (cpu_figure, cpu) = _plot(), _plot()
    for name, client in clients.items():
        for place, (setting, seen) in enumerate(client["jobs"].items()):
            laws = seen["laws"]
            lines.append(
                [
                    client["name"] if not place else "",
                    setting,
                    _number(seen["polls_per_job"], "{:.1f}"),
                    *(
                        f"{_number(laws[law]['mean_delay'])} ({_number(laws[law]['p95_delay'])})"
                        for law in laws
                    ),
                    _number(seen["cpu_ms_per_job"], "{:.1f}"),
                    ", ".join(sorted(set(seen["wrong"]))),
                ]
            )
            mark = "o" if name.startswith("ours") else "s" if client["weight"] else "^"
            for axes, value in ((polls, seen["polls_per_job"]), (cpu, seen["cpu_ms_per_job"])):
                if seen["mean_delay"] is None:
                    continue
                axes.plot(
                    seen["mean_delay"],
                    max(value, 0.01),
                    mark,
                    markersize=6,
                    color=colours.setdefault(name, COLOURS[len(colours)]),
                    fillstyle="none" if place else "full",
                    label="_" if place else client["name"],
                )
    names = [*_CLIENT_COLUMNS, "errors"]
    if not any(line[-1] for line in lines):
        names, lines = names[:-1], [line[:-1] for line in lines]
    for axes, what in ((polls, "polls per job"), (cpu, "client CPU per job (ms)")):
        axes.set(xlabel="mean delay (s)", ylabel=what, yscale="log")
        axes.margins(y=0.1)
        _plain_numbers(axes.yaxis)
    polls.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.18), columnspacing=1)
    cpu.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.18), columnspacing=1)
    _save(polls_figure, "peers-polls")
    _save(cpu_figure, "peers-cpu")
    text = [
        "## Comparison with other clients\n",
        f"{2 * image['each']} jobs of {image['mean']:.0f} s on average (half lognormal, half of "
        f"two speeds), started within {image['spread']:.0f} s, one in ten fails. A client that "
        "polls each job separately needs as many polls per job for 10,000 jobs; this package needs "
        "fewer per job, the more jobs there are. Delays are in seconds, mean (p95).\n",
        _table(names, lines),
        _beside(
            {
                "peers-polls": "Polls per job against mean delay, by client",
                "peers-cpu": "Client CPU per job against mean delay, by client",
            }
        ),
        "Higher is more work, further right is a longer delay. The filled point of each client is "
        "its default setting. A held request or an event stream reports the end at once, at the "
        "cost of one open connection per job, which their pools limit to 100; A2E offers "
        "neither.\n",
        "### Charges if the response to a start is lost\n",
        f"The server accepts (and charges) each request, and then the response fails, up to "
        f"{max(c['charges']['drop']['calls'] for c in clients.values() if 'charges' in c)} times "
        "or until the client gives up. Each cell has the number of charges and what the caller "
        "got. comfy-sdk sends an idempotency key, which its service supports; A2E has none.\n",
        _table(
            ["client", *(FAULTS[what] for what in clients["ours"]["charges"])],
            [
                [c["name"], *(f"{s['charges']}: {s['got']}" for s in c["charges"].values())]
                for c in clients.values()
                if "charges" in c
            ],
        ),
        "### Failed polls and time limits\n",
        "One poll gets a 500; one is dropped; all are dropped for 3 s: whether the wait continued, "
        "or what it raised although the job succeeded. Then by how much a time limit of 2.5 s was "
        "exceeded, for a job that does not end, and if the service does not respond to polls "
        "either (this package makes one final poll, in this run of 5 s at most).\n",
        _table(
            [
                "client",
                *clients["ours"]["failed_polls"],
                *(f"limit, {label}" for label in clients["ours"]["deadline"]),
            ],
            [
                [
                    c["name"],
                    *(seen["got"] for seen in c["failed_polls"].values()),
                    *map(_over, c["deadline"].values()),
                ]
                for c in clients.values()
                if "failed_polls" in c
            ],
        ),
        "### Memory, import time and size\n",
        "Memory per pending job (including the caller's asyncio task and the last record), import "
        "time, and what pip installs.\n",
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
        "How each client is called:\n\n"
        + "\n".join(f"- {c['name']}: {c['call'].rstrip('.')}" for c in clients.values())
        + "\n",
    ]
    if found["missing"]:
        text.append(f"Not installed, so omitted: {', '.join(found['missing'])}.\n")
    return "\n".join(text)


def _over(seen: dict[str, Any]) -> str:
    if seen["over"] is None:
        return "not supported"
    if seen["got"] == "nothing":
        return f"more than {seen['over']:.0f} s"
    return f"{max(0.0, seen['over']):.2f} s"


# -- the polling interval ----------------------------------------------------------------------


def tick(found: dict[str, Any]) -> str:
    """Return the section on the polling interval, and plot its curves."""
    points = found["points"]
    for pattern in ("steady", "burst"):
        figure, axes = _plot()
        for law in dict.fromkeys(p["law"] for p in points):
            for window in (None, 0.5, 0.0):
                curve = [
                    p
                    for p in points
                    if (p["law"], p["pattern"], p["window"]) == (law, pattern, window)
                ]
                if not curve:
                    continue
                label = law if window is None else f"{law}, window {window:g} intervals"
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
        _plain_numbers(axes.yaxis)
        _plain_numbers(axes.xaxis)
        axes.set_xticks([0.5, 1, 2, 5, 10], minor=False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18))
        _save(figure, f"interval-{pattern}")
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
            "\n## Polling interval\n",
            f"{found['jobs']} jobs with a rate limit of {found['rate']:.0f}/s, in virtual time: "
            "polls per job against the mean delay, for intervals from 0.5 to 5 s. The ring marks "
            f"the default of {found['default']:.0f} s.\n",
            _beside(
                {
                    "interval-steady": "Polls per job against delay, steady arrivals",
                    "interval-burst": "Polls per job against delay, all jobs started at once",
                }
            ),
            "- A request that is due includes all other tasks of its kind. With a narrower window "
            "(only tasks that are due within it), the same interval costs more polls and sees ends "
            "no sooner; with a window of 0, the polls exceed their half of the rate limit.",
            "- With all tasks in one request the curve is a simple trade-off: half the interval is "
            "half the delay and twice the polls. At 2 s, half a poll per job gives a mean delay of "
            "a second; for a shorter delay, `poll_interval=1` doubles the polls.",
            "- An interval adapted to task durations has no advantage here: one request serves all "
            "tasks, and one of them is always about to end.\n",
            _folded(
                ["population", "pattern", "interval s", "polls per job", "mean delay s", "p95 s"],
                shown,
            ),
        ]
    )


# -- scale ---------------------------------------------------------------------------------------


def scale(found: dict[str, Any]) -> str:
    """Return the section on scale, and plot its curves."""
    (cpu_figure, cpu), (delay_figure, delay) = _plot(), _plot()
    for paced in (True, False):
        for loop in ("asyncio", "uvloop"):
            curve = sorted(
                (p for p in found["points"] if p["paced"] is paced and p["loop"] == loop),
                key=lambda p: p["waits"],
            )
            label = f"{loop}, {'10 requests/s' if paced else 'no rate limit'}"
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
                label=label,
                markersize=3,
                linewidth=1,
            )
    cpu.set(xlabel="waits", ylabel="% of a core", xscale="log", yscale="log")
    delay.set(xlabel="waits", ylabel="mean delay (s)", xscale="log", yscale="log")
    for axes in (cpu, delay):
        _plain_numbers(axes.yaxis)
        axes.set_xticks([10, 100, 1000, 10_000, 50_000], minor=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.18))
    _save(cpu_figure, "scale-cpu")
    _save(delay_figure, "scale-delay")
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
            _beside(
                {
                    "scale-cpu": "CPU against the number of waits",
                    "scale-delay": "Mean delay against the number of waits",
                }
            ),
            "Up to 1,000 waits (5 requests every 2 s), only the number of records grows. At the "
            "default rate limit, polling then reaches its half: beyond 2,000 waits the interval is "
            "stretched by design, so that 10,000 tasks are polled every 10 s and 50,000 every 50 "
            "s, and the CPU stays constant. (The measurement covers 1.4 such rounds and so counts "
            "one or two of them: requests/s vary between 5 and 7, with a mean of 5.) Without a "
            "rate limit, the CPU grows with the number of records read.\n",
            _folded(
                [
                    "waits",
                    "rate",
                    "loop",
                    "% of a core",
                    "without decoding",
                    "requests/s",
                    "KiB per wait",
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
            "\n## Latency of a start\n",
            "50 concurrent starts in one process. If the server responds at once, the latency is "
            "50 times the CPU time of one start, including validation, hashes and marks; with a "
            "service that takes 100 ms, most of it is hidden.\n",
            _table(["server delay", "loop", "client", "p50 ms", "starts/s", "CPU us"], rows),
        ]
    )


_CLIENT_COLUMNS: Final = (
    "client",
    "setting",
    "polls per job",
    "delay, two speeds",
    "delay, lognormal",
    "CPU ms per job",
)

FAULTS: Final = {
    "drop": "connection drops",
    "503": "503",
    "429": "429 once (not taken)",
    "hang": "no response in 1 s",
}

INTRO: Final = """\
# Benchmarks

Generated by `python -m benchmarks --docs`, which runs all benchmarks in about twenty minutes;
`--short` only checks that they work, `--update name` measures one of them again.
`benchmarks/README.md` says what each benchmark measures, and what it does not. Compare ratios
within one run, not figures of different machines. The server runs on the loopback interface and
responds immediately. "Ours" is this package.
"""


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    write(given)
    write_readme(given)
