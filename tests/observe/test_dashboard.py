"""The dashboard and the alerts name what a run exports, and work in a real Prometheus."""

import asyncio
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from a2e_async.contrib.otel import instrument
from a2e_async.errors import BudgetExceeded, StartOutcomeUnknown, TaskFailed
from a2e_async.sandbox import Sandbox
from tests.client.conftest import DUB, TALK, MakeClient
from tests.ports import free_port

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "observability"
TARGET_LABELS = {"instance", "job"}
"""The labels that Prometheus adds to what it scrapes."""

NOT_METRICS = re.compile(r"\{[^}]*\}|\bby \([^)]*\)")
METRIC = re.compile(r"\b(?:a2e|http)_\w+")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")

Exported = dict[str, dict[str, set[str]]]
"""The values of each label of each metric, by its name in Prometheus."""


def dashboard() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((EXAMPLES / "dashboard.json").read_text()))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((EXAMPLES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with the text that shows its labels."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        yield rule["expr"], " ".join(re.findall(r"\$labels\.\w+", texts)).replace("$labels.", "")


@pytest.fixture
async def metrics(make_client: MakeClient, sandbox: Sandbox) -> AsyncIterator[None]:
    """The metrics of a program in which nearly everything has happened."""
    meters = MeterProvider([PrometheusMetricReader()])

    def listener() -> Any:
        return instrument(meter_provider=meters)

    client = make_client(on_event=listener())
    sandbox.faults.http_error(429, role="start", retry_after=0.01)
    sandbox.faults.http_error(500, role="detail")
    await client.dubbing.run(**DUB)
    sandbox.faults.fail("talking_video")
    with pytest.raises(TaskFailed):
        await client.talking_video.run(**TALK)
    with pytest.raises(BudgetExceeded):
        await make_client(on_event=listener(), budget=0).dubbing.start(**DUB)
    sandbox.faults.list_lag(1e9, times=None)
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await client.dubbing.start(**DUB)
    yield
    meters.shutdown()


@pytest.mark.usefixtures("metrics")
async def test_queries_name_what_is_exported() -> None:
    """A renamed metric, label or value makes a panel or an alert fall silent: here it fails."""
    exported: Exported = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(generate_latest().decode()):
        for sample in family.samples if family.name.startswith(("a2e_", "http_")) else ():
            for label, value in sample.labels.items():
                exported[sample.name][label].add(value)
    used: set[str] = set()
    for expression, shown in queries():
        names = METRIC.findall(NOT_METRICS.sub(" ", expression))
        assert names, expression
        used |= set(names)
        labels = {
            word for group in GROUPING.findall(expression) for word in re.split(r",\s*", group)
        }
        labels |= set(re.findall(r"\w+", shown)) & set().union(*exported.values())
        for name in names:
            assert name in exported, f"{name} in {expression}"
            assert labels <= exported[name].keys() | TARGET_LABELS, expression
        for name, matchers in re.findall(r"\b((?:a2e|http)_\w+)\{([^}]*)\}", expression):
            for label, comparison, text in MATCHER.findall(matchers):
                assert label in exported[name], f"{label} in {expression}"
                if comparison in ("=", "=~") and "$" not in text:
                    values = exported[name][label]
                    assert any(re.fullmatch(text, value) for value in values), expression
    # Each metric is looked at somewhere.
    families = {re.sub("_(bucket|count|sum|created)$", "", name) for name in exported}
    assert families == {re.sub("_(bucket|count|sum)$", "", name) for name in used}


async def test_the_dashboard_fits_together() -> None:
    """Panels have their own ids and places; variables are filled from metrics that are queried."""
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not mine & cells, panel["title"]
        cells |= mine
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = re.findall(r"\$\{?(\w+)", json.dumps(panels))
    assert set(used) <= names | {"__range", "__rate_interval"}
    text = " ".join(expression for expression, _ in queries())
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert all(word in text for word in re.findall(r"a2e_\w+", variable["definition"]))


async def test_alerts_say_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")
async def test_alerts_fire_when_they_should() -> None:
    """Prometheus's own unit tests of rules: also that a counter's first value fires."""
    path = Path(__file__).with_name("alerts_test.yml")
    done = await asyncio.to_thread(
        subprocess.run, ["promtool", "test", "rules", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no Prometheus")
@pytest.mark.usefixtures("metrics")
async def test_a_real_prometheus(tmp_path: Path) -> None:
    """It scrapes a program, every panel shows something, and the alert for a lost start fires."""
    port = free_port()
    exporter, _ = start_http_server(0, addr="127.0.0.1")
    target = f"127.0.0.1:{exporter.server_port}"
    config = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(EXAMPLES / "alerts.yml")],
        "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [target]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    server = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:

            async def ask(path: str, **params: str) -> Any:
                url = f"http://127.0.0.1:{port}/api/v1/{path}"
                while True:
                    try:
                        async with http.get(url, params=params) as response:
                            answer = await response.json(content_type=None)
                    except (aiohttp.ClientError, ValueError):  # it is still starting
                        answer = {}
                    if answer.get("status") == "error":
                        raise AssertionError(f"{params}: {answer['error']}")
                    data = answer.get("data", {})
                    if data.get("result") or data.get("alerts"):
                        return data
                    await asyncio.sleep(0.1)

            for panel in dashboard()["panels"]:
                for target in panel.get("targets", ()):
                    query = target["expr"].replace("$__rate_interval", "30s")
                    query = query.replace("$__range", "1m").replace("$kind", ".*")
                    found = await ask("query", query=query)
                    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                    assert any(shown <= one["metric"].keys() for one in found["result"]), query
            alerts = (await ask("alerts"))["alerts"]
            assert "A2EStartLost" in {alert["labels"]["alertname"] for alert in alerts}
    finally:
        server.terminate()
        await server.wait()
        exporter.shutdown()
        exporter.server_close()
