"""The built pages: what their search finds, and that they fit on a phone.

A2E_TEST_SITE names a directory of built pages, as CI sets it. Without it the pages are built here,
which takes a minute, if Sphinx and the extra `docs` are installed.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

# A page that must be among the results, by the query.
QUERIES = {
    "exit code": "how-to/batch",
    "retry": "how-to/migrating",
}

# The page, or its section, that must be the first result.
FIRST = {
    "cli": "cli.html",
    "exit code": "cli.html#exit-codes",
    "quickstart": "tutorial.html",
    "install": "tutorial.html#install",
    "api key": "tutorial.html#use-a-real-api-key",
    "jupyter": "how-to/scripts.html#jupyter-notebooks",
    "filename": "reference/files.html",
    "poll": "polling.html",
    "polling": "polling.html",
    "refund": "billing-safety.html#after-the-start",
    "timeout": "how-to/proxies.html#timeouts",
    "retry": "how-to/proxies.html#retries",
    "rate limit": "how-to/proxies.html#connections-and-rate-limit",
    "webhook": "how-to/webhooks.html",
    "fastapi": "how-to/web-app.html",
    "budget": "reference/batch.html#budgets",
    "journal": "reference/batch.html#the-journal",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the built pages."""
    if not importlib.util.find_spec("sphinx"):
        pytest.skip("needs the extra docs")
    given = os.environ.get("A2E_TEST_SITE")
    site = Path(given) if given else tmp_path_factory.mktemp("site")
    if not given:
        build = [sys.executable, "-m", "sphinx", "-q", str(DOCS), str(site)]
        subprocess.run(build, check=True)
    return site


@pytest.fixture(scope="module")
def index(pages: Path) -> dict[str, Any]:
    """The search index of the built pages."""
    text = (pages / "searchindex.js").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    return found


def results(index: dict[str, Any], query: str) -> set[str]:
    """Return the pages that contain every word of the query, as the search in the browser does."""
    from sphinx.search.en import SearchEnglish

    stem = SearchEnglish({}).stem
    pages: list[set[str]] = []
    for word in query.split():
        numbers: set[int] = set()
        for part in ("terms", "titleterms"):
            hits = index[part].get(stem(word), [])
            numbers.update([hits] if isinstance(hits, int) else hits)
        pages.append({index["docnames"][number] for number in numbers})
    return set.intersection(*pages)


@pytest.mark.parametrize(("query", "page"), QUERIES.items())
def test_search_finds(query: str, page: str, index: dict[str, Any]) -> None:
    """A query leads to the page on its subject."""
    assert page in results(index, query)


@pytest.fixture(scope="module")
def address(pages: Path) -> Iterator[str]:
    """The address at which the built pages are served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(pages)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the base
        """Log nothing."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = f"--user-data-dir={tmp_path_factory.mktemp('browser')}"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", profile):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize(("query", "place"), FIRST.items())
def test_search_puts_first(query: str, place: str, browser: webdriver.Chrome, address: str) -> None:
    """The first result of a query is the page, or the section, on its subject."""
    browser.get(f"{address}/search.html?q={quote(query)}")
    first = WebDriverWait(browser, 60).until(
        lambda it: it.find_element(By.CSS_SELECTOR, "#search-results li a"),
    )
    # The link also carries the words to highlight.
    found = (first.get_attribute("href") or "").removeprefix(f"{address}/")
    page, _, anchor = found.partition("#")
    assert f"{page.partition('?')[0]}{'#' if anchor else ''}{anchor}" == place


def test_no_page_is_wider_than_a_phone(
    pages: Path, browser: webdriver.Chrome, address: str
) -> None:
    """At 390 px no page scrolls sideways; what is wider scrolls within the page."""
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    names = ["index", "cli", "benchmarks", "billing-safety", "tutorial", "how-to/fleet"]
    names += sorted(f"reference/{page.stem}" for page in (pages / "reference").glob("*.html"))
    wide = {}
    for name in names:
        browser.get(f"{address}/{name}.html")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > phone["width"]:
            wide[name] = width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not wide
