"""The aiohttp.web and Django examples: jobs outlive requests and processes, and are paid once."""

from collections.abc import Callable, Iterator

import pytest

from a2e_async.sandbox import Sandbox, media
from tests.ports import free_port

from .programs import EXAMPLES, Program
from .site import KEY, Site

SPEECH = media.speech().read_bytes()
NONE = "/jobs/none/result"


@pytest.fixture(params=["aiohttp", "django"])
def site(request: pytest.FixtureRequest, program: Callable[..., Program]) -> Iterator[Site]:
    port = free_port()
    django = ("-m", "uvicorn", "--app-dir", EXAMPLES / "django_async", "asgi:application")
    if request.param == "django":
        app = program(*django, "--port", str(port))
    else:
        app = program(EXAMPLES / "aiohttp_web.py", PORT=str(port))
    made = Site(app, port)
    with made.http:
        made.start(NONE)
        yield made


def test_double_click_and_restart(site: Site, sandbox: Sandbox) -> None:
    """Sent twice, killed and restarted: one charge, one result, a clean exit."""
    for sent in (site.post(), site.post()):
        assert (sent.status_code, sent.json()) == (202, {"id": KEY})
    assert site.http.get(f"/jobs/{KEY}/result").status_code == 404
    site.app.kill()
    sandbox.advance(600)
    site.start(NONE)
    site.until("succeeded")
    assert site.http.get(f"/jobs/{KEY}/result").content.startswith(b"RIFF")
    assert len(sandbox.ledger.starts()) == 1
    refused = site.post("other", files={"file": b"no media"})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_input"), refused.text
    assert refused.json()["detail"].startswith("source_url: ")
    other = site.post(data={"target_lang": "fr"}, files={"file": SPEECH})
    assert other.status_code == 409  # the key stands for another job
    assert site.http.post("/jobs", data={"target_lang": "es"}).status_code == 400
    assert site.post("open:1").status_code == 202  # no other user's
    stream = site.events()
    assert "open:1" in {next(stream)["id"], next(stream)["id"]}
    site.app.stop()  # an open stream does not delay it
    stream.close()
    assert len(sandbox.ledger.starts()) == 2
