"""The function of docs/how-to/fleet.md that closes, in PostgreSQL, a start that is never found."""

import re
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "fleet.md"
DUB = {**LEAST["dubbing"], "key": "talk-17"}


def settle_of_the_page() -> Any:
    """Return the function as the page shows it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "async def settle(" in block]
    names: dict[str, Any] = {}
    exec(code, names)  # the page's own code is what is tested
    return names["settle"]


@pytest.mark.parametrize("outcome", ["found", "charged", "neither"])
async def test_a_lost_start_is_closed(
    url: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03))
    settle = settle_of_the_page()
    async with Sandbox(speed=600, make_results="stdlib") as sandbox:
        options: dict[str, Any] = {"base_url": sandbox.base_url, "journal": url, "rate": None}
        sandbox.faults.list_lag(100_000)
        if outcome == "neither":
            sandbox.faults.drop_before_accept()
        else:
            sandbox.faults.drop_after_accept()
        async with A2E(sandbox.api_key, **options) as a2e:
            with pytest.raises(StartOutcomeUnknown):
                await a2e.dubbing.start(**DUB)
        charged = sandbox.ledger.starts()
        async with A2E(sandbox.api_key, **options) as a2e:
            if outcome == "found":
                await settle(a2e, "talk-17", found=charged[0].ids[0])
                assert (await a2e.dubbing.start(**DUB)).ids == charged[0].ids
            elif outcome == "charged":
                await settle(a2e, "talk-17", charged=True)
                with pytest.raises(A2EError, match="closed by hand"):
                    await a2e.dubbing.start(**DUB)
            else:
                await settle(a2e, "talk-17")
                await a2e.dubbing.start(**DUB)
            with pytest.raises(RuntimeError, match="closed, or a worker is busy"):
                await settle(a2e, "talk-17") if outcome == "charged" else await settle(a2e, "other")
        assert len(sandbox.ledger.starts()) == 1
