"""The FastAPI example: jobs outlive requests and processes, and are paid once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from a2e_async.sandbox import Sandbox

from .programs import wait_for
from .site import KEY, PageSite


def test_double_click_and_restart(site: PageSite, sandbox: Sandbox) -> None:
    """Clicked twice, killed and started again: one charge, one result."""
    url = site.upload().json()["url"]
    with ThreadPoolExecutor(2) as pool:
        clicks = list(pool.map(lambda _: site.post(url=url), range(2)))
    assert [(click.status_code, click.json()) for click in clicks] == [(202, {"id": KEY})] * 2
    assert site.until("queued")["meta"] == {"name": "talk.wav → Spanish"}

    site.app.kill()
    site.start()
    assert site.post(url=url).json() == {"id": KEY}  # a browser that saw no answer sends it again
    seen: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: seen.append(site.until("succeeded")))
    reader.start()
    sandbox.advance(600)
    reader.join()
    assert seen[0]["files"] == 1
    result = site.http.get(f"/jobs/{KEY}/result", headers={"Range": "bytes=0-3"})
    assert (result.status_code, result.content) == (206, b"RIFF")
    assert len(list(Path(site.app.log.parent, "results").iterdir())) == 1
    assert len(sandbox.ledger.starts()) == 1
    site.app.stop()


def test_finished_while_down(site: PageSite, sandbox: Sandbox) -> None:
    """A result that became ready while no process ran is fetched on restart."""
    site.post()
    site.app.kill()
    sandbox.advance(600)
    site.start()
    site.until("succeeded")
    assert len(list((site.app.log.parent / "results").glob("*.wav"))) == 1
    assert len(sandbox.ledger.starts()) == 1


def test_killed_during_a_start(site: PageSite, sandbox: Sandbox) -> None:
    """The answer to a paid start is lost with the process; the browser's next try finds it."""
    url = site.upload().json()["url"]
    sandbox.faults.drop_after_accept("dubbing")
    with ThreadPoolExecutor(1) as pool:
        click = pool.submit(site.post, url=url)
        wait_for(sandbox.ledger.starts)
        site.app.kill()
        assert isinstance(click.exception(), httpx.TransportError)
    site.start()
    assert site.post(url=url).status_code == 202
    sandbox.advance(600)
    site.until("succeeded")
    assert len(sandbox.ledger.starts()) == 1


def test_pages_come_and_go(site: PageSite, sandbox: Sandbox) -> None:
    """A closed page ends only its stream; an open one does not delay shutdown."""
    sandbox.faults.fail("dubbing", times=1)
    site.post()
    for _ in range(3):
        next(site.events())  # and gone
    sandbox.advance(600)
    last = site.until("failed")
    assert (last["files"], bool(last["error"])) == (0, True)
    site.post("f" * 32)
    stream = site.events()
    next(stream)
    site.app.stop()
    stream.close()
    assert len(sandbox.ledger.starts()) == 2


@pytest.mark.parametrize("site", ["webhooks"], indirect=True)
def test_webhooks(site: PageSite, sandbox: Sandbox) -> None:
    """With a webhook URL the service reports the end; forged events are refused."""
    site.post()
    assert site.http.post("/a2e/").status_code == 401
    sandbox.advance(600)
    site.until("succeeded")
    wait_for(lambda: '"POST /a2e/ HTTP/1.1" 204' in site.app.log.read_text())
    site.app.stop()


def test_too_many_at_once(site: PageSite, sandbox: Sandbox) -> None:
    """A user with three running jobs gets a wait time, is charged nothing and uploads nothing."""
    url = site.upload().json()["url"]
    keys = [f"{n:032x}" for n in range(4)]
    for key in keys[:3]:
        assert site.post(key, url=url).status_code == 202
    refused = site.post(keys[3], url=url)
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
    assert site.post(keys[0], url=url).status_code == 202  # known already
    sandbox.advance(600)
    wait_for(lambda: site.post(keys[3], url=url).status_code == 202)
    assert len(sandbox.ledger.starts()) == 4


def test_users_see_only_their_own_jobs(site: PageSite) -> None:
    """Neither the stream nor a result is given to another user, or to nobody."""
    site.post()
    with httpx.Client(base_url=site.url, trust_env=False, timeout=120) as other:
        assert other.get("/events").status_code == 422
        other.get("/")
        assert other.cookies["user"] != site.user
        with other.stream("GET", "/events") as answer:
            for line in answer.iter_lines():
                assert KEY not in line
                if line == "event: ready":
                    break
        assert other.get(f"/jobs/{KEY}/result").status_code == 404


def test_bad_input(site: PageSite, sandbox: Sandbox) -> None:
    """Invalid requests are refused with a reason before anything is charged."""
    url = "https://media.example/a.wav"
    for key, values in (
        ("no-key", {"url": url}),
        (KEY, {"url": "/etc/passwd"}),
        (KEY, {"url": "app.py"}),
        (KEY, {"url": url, "target_lang": "../x"}),
        (KEY, {"url": url, "name": "x" * 301}),
    ):
        answer = site.post(key, **values)
        assert answer.status_code == 422, values
        assert answer.json()["detail"]
    for content in (b"no media at all", b" "):
        answer = site.upload(content)
        assert "error" in answer.json(), answer.text
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_input"), content
    assert site.http.put("/files", content=iter([b"RIFF"])).status_code == 422  # of unknown size
    assert not sandbox.ledger.charges
    assert site.http.get(f"/jobs/{KEY}/result").status_code == 404
    assert site.post(url=url).status_code == 202
    assert site.post(url="https://media.example/b.wav").status_code == 409
    assert len(sandbox.ledger.starts()) == 1
