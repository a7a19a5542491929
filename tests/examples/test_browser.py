"""The FastAPI example's page in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from a2e_async.sandbox import Sandbox, media

from .programs import wait_for
from .site import Site

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

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium here: apt-get install chromium chromium-driver",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


def states(browser: webdriver.Chrome) -> list[str]:
    """Return what the page says of its jobs."""
    return [one.text for one in browser.find_elements(By.CSS_SELECTOR, "li .state")]


def test_a_persons_way(
    browser: webdriver.Chrome, site: Site, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Two uploads, the server killed in between, the page reloaded: two charges, two players."""
    browser.get(site.url)
    chosen = browser.find_element(By.NAME, "file")
    button = browser.find_element(By.CSS_SELECTOR, "form button")
    assert not button.is_enabled()
    for name in ("interview.wav", "welcome.wav"):
        chosen.send_keys(str(shutil.copy(media.speech(), tmp_path / name)))
        button.click()
        wait_for(lambda: states(browser)[0] in ("In the queue", "Dubbing"))
        assert not button.is_enabled()
        if name == "interview.wav":
            site.app.kill()
            sandbox.advance(600)  # it is finished while nobody looks
            site.start()
            wait_for(lambda: states(browser) == ["Ready"])
    sandbox.advance(5)
    browser.refresh()
    # Dubbing takes minutes, so the next poll that shows this may be 20 s away.
    wait_for(lambda: states(browser) == ["Dubbing", "Ready"], seconds=60)
    assert play(browser)
    if "A2E_SCREENSHOTS" in os.environ:
        browser.save_screenshot(str(Path(__file__).parents[2] / "docs/_static/fastapi_app.png"))
    sandbox.advance(600)
    wait_for(lambda: states(browser) == ["Ready", "Ready"])
    assert play(browser)
    assert not [line for line in browser.get_log("browser") if "Uncaught" in line["message"]]
    assert len(sandbox.ledger.starts()) == 2


def play(browser: webdriver.Chrome) -> bool:
    """Return whether the browser can play the last result."""
    return bool(
        wait_for(
            lambda: browser.execute_script(
                "return [...document.querySelectorAll('audio')].at(-1).readyState >= 1"
            )
        )
    )
