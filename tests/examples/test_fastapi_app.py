"""The FastAPI example: jobs outlive requests and processes, and are paid once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from a2e_async.sandbox import Sandbox

from .programs import wait_for
from .site import KEY, Site


def test_double_click_and_restart(site: Site, sandbox: Sandbox) -> None:
    """Clicked twice, killed and started again: one charge, one result."""
    with ThreadPoolExecutor(2) as pool:
        clicks = list(pool.map(lambda _: site.post(), range(2)))
    assert [(click.status_code, click.json()) for click in clicks] == [(202, {"id": KEY})] * 2
    assert site.http.get(f"/jobs/{KEY}").json()["status"] == "queued"
    assert next(site.events())["status"] == "queued"

    site.app.kill()
    site.start()
    assert site.post().json() == {"id": KEY}  # a browser that saw no answer sends it again
    seen: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: seen.extend(site.events()))
    reader.start()
    sandbox.advance(600)
    reader.join()
    assert seen[-1]["status"] == "succeeded"
    result = site.http.get(seen[-1]["result"], headers={"Range": "bytes=0-3"})
    assert (result.status_code, result.content) == (206, b"RIFF")
    assert len(list(Path(site.app.log.parent, "results").iterdir())) == 1
    assert len(sandbox.ledger.starts()) == 1
    site.app.stop()


def test_finished_while_down(site: Site, sandbox: Sandbox) -> None:
    """A result that became ready while no process ran is fetched on restart."""
    site.post()
    site.app.kill()
    sandbox.advance(600)
    site.start()
    results = site.app.log.parent / "results"
    wait_for(lambda: results.is_dir() and list(results.glob("*.wav")))
    assert list(site.events())[-1]["status"] == "succeeded"
    assert len(sandbox.ledger.starts()) == 1


def test_killed_during_a_start(site: Site, sandbox: Sandbox) -> None:
    """The answer to a paid start is lost with the process; the browser's next try finds it."""
    sandbox.faults.drop_after_accept("dubbing")
    with ThreadPoolExecutor(1) as pool:
        click = pool.submit(site.post)
        wait_for(sandbox.ledger.starts)
        site.app.kill()
        assert isinstance(click.exception(), httpx.TransportError)
    site.start()
    assert site.post().status_code == 202
    sandbox.advance(600)
    assert list(site.events())[-1]["status"] == "succeeded"
    assert len(sandbox.ledger.starts()) == 1


def test_pages_come_and_go(site: Site, sandbox: Sandbox) -> None:
    """A closed page ends only its stream; an open one does not delay shutdown."""
    sandbox.faults.fail("dubbing", times=1)
    site.post()
    for _ in range(3):
        next(site.events())  # and gone
    sandbox.advance(600)
    last = list(site.events())[-1]
    assert (last["status"], last["result"]) == ("failed", None)
    assert last["error"]
    site.post("f" * 32)
    stream = site.events("f" * 32)
    next(stream)
    site.app.stop()
    stream.close()
    assert len(sandbox.ledger.starts()) == 2


@pytest.mark.parametrize("site", ["webhooks"], indirect=True)
def test_webhooks(site: Site, sandbox: Sandbox) -> None:
    """With a webhook URL the service reports the end; forged events are refused."""
    site.post()
    assert site.http.post("/a2e/").status_code == 401
    sandbox.advance(600)
    assert list(site.events())[-1]["status"] == "succeeded"
    wait_for(lambda: '"POST /a2e/ HTTP/1.1" 204' in site.app.log.read_text())
    site.app.stop()


def test_too_many_at_once(site: Site, sandbox: Sandbox) -> None:
    """A user with three running jobs gets a wait time and is charged nothing."""
    keys = [f"{n:032x}" for n in range(4)]
    for key in keys[:3]:
        assert site.post(key).status_code == 202
    refused = site.post(keys[3])
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
    assert site.post(keys[0]).status_code == 202  # known already
    sandbox.advance(600)
    wait_for(lambda: site.post(keys[3]).status_code == 202)
    assert len(sandbox.ledger.starts()) == 4


def test_bad_input(site: Site, sandbox: Sandbox) -> None:
    """Invalid requests are refused with a reason before anything is charged."""
    url = {"url": "https://media.example/a.wav"}
    for key, form in (
        ("no-key", {"data": url}),
        (KEY, {"data": {"url": "/etc/passwd"}}),
        (KEY, {"data": {"url": "app.py"}}),
        (KEY, {"files": {"file": b"no media at all"}}),
        (KEY, {"files": {"file": b""}}),
        (KEY, {"data": {"target_lang": "es"}}),
        (KEY, {"data": {**url, "target_lang": "../x"}}),
        (KEY, {"data": url, "files": {"file": b"RIFF"}}),
    ):
        answer = site.post(key, **form)
        assert answer.status_code == 422, form
        assert answer.json()["detail"]
    assert not sandbox.ledger.charges
    for path in ("", "/events", "/result"):
        assert site.http.get(f"/jobs/{KEY}{path}").status_code == 404
    assert site.post(data=url).status_code == 202
    assert site.post(data={"url": "https://media.example/b.wav"}).status_code == 409
    assert len(sandbox.ledger.starts()) == 1
