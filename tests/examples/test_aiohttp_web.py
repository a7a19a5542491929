"""The aiohttp.web example: jobs outlive requests and processes, and are paid once."""

from collections.abc import Callable

import httpx

from a2e_async.sandbox import Sandbox, media

from .programs import EXAMPLES, Program, free_port, wait_for
from .site import KEY, Site


def test_double_click_and_restart(sandbox: Sandbox, program: Callable[..., Program]) -> None:
    """Sent twice, killed and started again: one charge, one result; then it ends cleanly."""
    port = free_port()
    site = Site(program(EXAMPLES / "aiohttp_web.py", PORT=str(port)), port)
    with site.http:
        site.start("/jobs/none")
        for sent in (site.post(), site.post()):
            assert (sent.status_code, sent.json()) == (202, {"id": KEY})
        assert site.http.get(f"/jobs/{KEY}/result").status_code == 404
        site.app.kill()
        sandbox.advance(600)
        site.start("/jobs/none")
        wait_for(lambda: site.http.get(f"/jobs/{KEY}").json()["status"] == "succeeded")
        assert site.http.get(f"/jobs/{KEY}/result").content.startswith(b"RIFF")
        assert len(sandbox.ledger.starts()) == 1
        refused = site.post("other", files={"file": b"no media"})
        assert (refused.status_code, "bytes" in refused.text) == (422, True)
        other: httpx.Response = site.post(data={"target_lang": "fr"}, files={"file": SPEECH})
        assert other.status_code == 422  # the key stands for another job
        assert site.http.post("/jobs", data={"target_lang": "es"}).status_code == 400
        assert site.post("open").status_code == 202
        site.app.stop()
    assert len(sandbox.ledger.starts()) == 2


SPEECH = media.speech().read_bytes()
