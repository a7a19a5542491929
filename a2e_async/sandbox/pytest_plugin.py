"""The pytest fixture ``a2e_sandbox``: the service on this machine, in its own thread.

The fixture is synchronous, so it works with every asynchronous pytest plugin. A marker passes
options:

```python
@pytest.mark.a2e_sandbox(speed=600, balance=10)
def test_it(a2e_sandbox): ...
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._core.server import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "a2e_sandbox(**options): options of Sandbox for the fixture a2e_sandbox"
    )


@pytest.fixture
def a2e_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Yield a running ``Sandbox``, at speed 600 unless the marker says otherwise."""
    from ._core.server import Sandbox

    marker = request.node.get_closest_marker("a2e_sandbox")
    options: dict[str, Any] = {"speed": 600, **(marker.kwargs if marker else {})}
    with Sandbox(**options) as sandbox:
        yield sandbox
