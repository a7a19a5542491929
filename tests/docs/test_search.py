"""The search of the built pages finds the words that users type.

A2E_TEST_SITE names a directory of built pages, as CI sets it. Without it the pages are built here,
which takes a minute, if Sphinx and the extra `docs` are installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLI_PAGE = "cli" if (DOCS / "cli.md").is_file() else "tutorial"

# A page that must be among the results, by the query.
QUERIES = {
    "cli": CLI_PAGE,
    "exit code": "how-to/batch",
    "quickstart": "tutorial",
    "jupyter": "how-to/scripts",
    "filename": "reference/files",
    "poll": "polling",
    "polling": "polling",
    "rate limit": "how-to/proxies",
    "api key": "tutorial",
    "fastapi": "how-to/web-app",
    "retry": "how-to/migrating",
    "timeout": "how-to/proxies",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The search index of the built pages."""
    if not importlib.util.find_spec("sphinx"):
        pytest.skip("needs the extra docs")
    given = os.environ.get("A2E_TEST_SITE")
    site = Path(given) if given else tmp_path_factory.mktemp("site")
    if not given:
        build = [sys.executable, "-m", "sphinx", "-q", str(DOCS), str(site)]
        subprocess.run(build, check=True)
    text = (site / "searchindex.js").read_text(encoding="utf-8")
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
