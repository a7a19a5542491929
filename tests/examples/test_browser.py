"""The FastAPI example's page in a real browser."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from a2e_async import A2E
from a2e_async.sandbox import Sandbox, media

from .conftest import WEBHOOK_SECRET
from .programs import wait_for
from .site import PageSite

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=960,760",
    "--force-device-scale-factor=2",
    "--hide-scrollbars",
)
IMPATIENT = """
    const setTimeout = window.setTimeout
    window.setTimeout = (work, ms) => setTimeout(work, Math.min(ms, 300))
"""
"""Lets the page wait less long than the server says."""

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no chromium here: apt-get install chromium chromium-driver",
    ),
    pytest.mark.parametrize("site", ["webhooks"], indirect=True),  # ends are seen at once
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium: webdriver.Chrome, site: PageSite, tmp_path: Path) -> Iterator["Page"]:
    """The page in a browser that has not seen it before (each test has an origin of its own)."""
    chromium.delete_all_cookies()
    made = Page(chromium, site, tmp_path)
    made.open()
    yield made
    messages = [line["message"] for line in chromium.get_log("browser")]
    assert not [message for message in messages if "Uncaught" in message]
    for handle in chromium.window_handles[1:]:
        chromium.switch_to.window(handle)
        chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])
    chromium.get("about:blank")


class Page:
    """What a person sees and does."""

    def __init__(self, browser: webdriver.Chrome, site: PageSite, folder: Path) -> None:
        self.browser = browser
        self.site = site
        self.folder = folder

    def open(self) -> None:
        self.browser.get(self.site.url)
        self.browser.execute_script(IMPATIENT)

    def reload(self) -> None:
        self.browser.refresh()
        self.browser.execute_script(IMPATIENT)

    def dub(self, *names: str) -> None:
        """Choose recordings and send the form."""
        paths = [str(shutil.copy(media.speech(), self.folder / name)) for name in names]
        self.browser.find_element(By.NAME, "file").send_keys("\n".join(paths))
        self.browser.find_element(By.CSS_SELECTOR, "form button").click()

    @property
    def states(self) -> list[str]:
        """What the page says of its jobs, in their order."""
        return self.script("[...document.querySelectorAll('li .state')].map(e => e.textContent)")

    def until(self, *states: str) -> None:
        """Wait until the jobs are in these states (each given by its beginning)."""
        wait_for(
            lambda: (
                (
                    len(now := self.states) == len(states)
                    and all(one.startswith(wanted) for one, wanted in zip(now, states, strict=True))
                )
                or None
            )
        )

    def script(self, expression: str) -> Any:
        return self.browser.execute_script(f"return {expression}")

    def shoot(self, name: str) -> None:
        """Save a screenshot, if somebody wants to look at it; the page never scrolls sideways."""
        for width in (1280, 360):
            size = {"width": width, "height": 900, "deviceScaleFactor": 2, "mobile": False}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            assert self.script("document.documentElement.scrollWidth") <= width
            for scheme in ("light", "dark"):
                media_features = [{"name": "prefers-color-scheme", "value": scheme}]
                self.browser.execute_cdp_cmd(
                    "Emulation.setEmulatedMedia", {"features": media_features}
                )
                if folder := os.environ.get("A2E_SCREENSHOTS"):
                    path = Path(folder) / f"{name}-{width}-{scheme}.png"
                    self.browser.save_screenshot(str(path))
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def play(self) -> bool:
        """Return whether the browser can play the last result."""
        self.script("[...document.querySelectorAll('audio')].at(-1).load()")
        self.script("[...document.querySelectorAll('audio')].at(-1).preload = 'metadata'")
        return bool(
            wait_for(
                lambda: self.script(
                    "[...document.querySelectorAll('audio')].at(-1).readyState >= 1"
                )
            )
        )


def uploads(site: PageSite) -> int:
    """Return how many uploads have reached the app."""
    return site.app.log.read_text().count('"PUT /files ')


def test_a_persons_way(page: Page, site: PageSite, sandbox: Sandbox) -> None:
    """Two uploads, the server killed during each, the page reloaded: two charges, two players."""
    page.dub("interview.wav")
    page.until("In the queue")
    assert page.script("document.activeElement.name") == "file"
    site.app.kill()
    wait_for(lambda: not page.script("document.querySelector('.connection').hidden"))
    sandbox.advance(600)  # it is finished while nobody looks
    site.start()
    page.until("Ready")
    assert page.script("document.querySelector('.connection').hidden")
    assert page.script("document.querySelector('.spoken').textContent").endswith("Ready")
    # The whole form by keyboard: file, language, button.
    chosen = page.browser.find_element(By.NAME, "file")
    chosen.send_keys(str(shutil.copy(media.speech(), page.folder / "welcome.wav")))
    page.script("document.querySelector('[name=file]').focus()")
    ActionChains(page.browser).send_keys(Keys.TAB, "French", Keys.TAB, Keys.ENTER).perform()
    page.until("In the queue", "Ready")
    assert "French" in page.script("document.querySelector('.name').textContent")
    site.app.kill()
    sandbox.advance(30)
    site.start()  # it polls at once
    page.reload()
    page.until("Dubbing", "Ready")
    page.shoot("running")
    assert page.play()
    sandbox.advance(600)
    page.until("Ready", "Ready")
    assert page.play()
    assert len(sandbox.ledger.starts()) == 2


def test_reloaded_at_the_worst_moments(page: Page, site: PageSite, sandbox: Sandbox) -> None:
    """During the upload, and during the start that it is for: one charge, under one key."""
    sandbox.faults.slow(8, role="presign", times=1)
    page.dub("talk.wav")
    page.until("Uploading")
    (key,) = page.script("Object.keys(localStorage)")
    page.reload()
    page.until("Upload interrupted")
    page.shoot("interrupted")
    sandbox.faults.slow(8, role="start", times=1)
    page.dub("talk.wav")
    page.until("Starting")
    assert page.script("Object.keys(localStorage)") == [key]
    wait_for(lambda: sandbox.calls["start", "dubbing"])
    page.reload()
    page.until("In the queue")
    wait_for(lambda: page.script("Object.keys(localStorage)") == [])
    assert len(sandbox.ledger.starts()) == 1


def test_two_tabs_share_one_list(page: Page, sandbox: Sandbox) -> None:
    """Each tab shows the other's jobs, and goes on with an upload that is complete."""
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.open()
    second = page.browser.current_window_handle
    page.dub("b.wav")
    page.until("In the queue")
    page.browser.switch_to.window(first)
    page.until("In the queue")
    sandbox.faults.slow(60, role="start", times=1)
    page.dub("a.wav")
    page.until("Starting", "In the queue")
    page.browser.switch_to.window(second)
    wait_for(lambda: len(page.states) == 2)  # "Uploading", until its stream says "Starting"
    page.browser.switch_to.window(first)
    page.browser.close()
    page.browser.switch_to.window(second)
    page.until("Starting", "In the queue")
    assert len(sandbox.ledger.starts()) <= 2


def test_many_jobs_and_a_full_queue(
    page: Page, site: PageSite, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 jobs survive a reload; a fourth upload waits for its turn without being sent again."""
    user = page.browser.get_cookie("user")["value"]
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", WEBHOOK_SECRET)

    async def start_many() -> None:
        async with A2E(
            sandbox.api_key,
            base_url=sandbox.base_url,
            journal=site.app.log.parent / "jobs.db",
            webhook_url=f"{site.url}/a2e/",
            rate=None,
        ) as a2e:
            url = await a2e.files.upload(media.speech())
            for number in range(25):
                await a2e.dubbing.start(
                    source_url=url,
                    target_lang="es",
                    key=f"{user}:{number:032x}",
                    meta={"name": f"{'a_long_name_' * 9}{number}.wav → Spanish"},
                )

    site.app.kill()
    asyncio.run(start_many())
    site.start()
    page.until(*["In the queue"] * 25)
    page.shoot("many")
    sandbox.advance(600)
    page.reload()
    page.until(*["Ready"] * 25)
    names = page.script("[...document.querySelectorAll('.name')].map(e => e.textContent)")
    assert [int(name.partition(".")[0].rpartition("_")[2]) for name in names] == [
        *range(24, -1, -1)
    ]

    page.dub("1.wav", "2.wav", "3.wav", "4.wav")
    wait_for(lambda: len(sandbox.ledger.starts()) == 28)
    wait_for(lambda: any("too many unfinished" in state for state in page.states))
    page.shoot("waiting")
    sandbox.advance(600)
    wait_for(lambda: len(sandbox.ledger.starts()) == 29)
    assert uploads(site) == 4


def test_offline_for_a_moment(page: Page, site: PageSite, sandbox: Sandbox) -> None:
    """What could not be sent is sent when the network is back; nothing is sent twice."""
    page.browser.set_network_conditions(offline=True, latency=0, throughput=0)
    page.dub("talk.wav")
    page.until("No connection")
    page.browser.delete_network_conditions()
    page.until("In the queue")
    assert len(sandbox.ledger.starts()) == uploads(site) == 1


def test_an_upload_that_may_be_paid_is_not_repeated(page: Page, sandbox: Sandbox) -> None:
    """Its start has a key, an upload has none: only the person sends it again."""
    sandbox.faults.http_error(500, role="presign", accepted=True)
    page.dub("talk.wav")
    page.until("The service cannot be used now")
    assert page.script("Object.keys(localStorage)") == []
    page.dub("talk.wav")
    wait_for(lambda: any(state.startswith("In the queue") for state in page.states))
    assert sandbox.calls["presign", ""] == 2
    assert len(sandbox.ledger.starts()) == 1
