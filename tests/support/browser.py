"""A real Chromium without a window, driven by chromedriver: Debian's packages chromium and chromium-driver.

    with chromium() as browser:
        browser.open(url)
        browser.log_in("demo")
        browser.press("authorize")
        browser.text(), browser.address(), browser.complaints()

Everything in it is the browser's own: its sessions, its policy, its drawing. Nothing is downloaded.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from pmcredd.sandbox.instances import USERS

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_PATIENCE = 60.0  # seconds; only a test that fails waits so long
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with one, and opens nothing but what the tests serve
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",  # a page of somebody's, whose name leads to this machine
)

needs_chromium = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="needs Chromium and its driver: apt install chromium chromium-driver"
)


@dataclass(frozen=True, slots=True)
class Browser:
    """One browser, with one person before it."""

    driver: Chrome

    def open(self, url: str) -> None:
        """Type an address; a page that cannot be had is told by `text`, as a person sees it."""
        try:
            self.driver.get(url)
        except WebDriverException as error:
            if "net::ERR_" not in str(error.msg):
                raise

    def log_in(self, username: str) -> None:
        """Fill in the server's login form."""
        self.wait(lambda: bool(self.driver.find_elements(By.NAME, "password")))
        (user,) = (each for each in USERS if each.username == username)
        for name, typed in (("username", user.username), ("password", user.password)):
            field = self.driver.find_element(By.NAME, name)
            field.clear()
            field.send_keys(typed)
        self.press("login")

    def press(self, button: str) -> None:
        """Press a button, by its id; it is waited for, and so is the page that it leads to."""
        self.wait(lambda: bool(self.driver.find_elements(By.ID, button)))
        try:
            self.driver.find_element(By.ID, button).click()
        except WebDriverException as error:
            if "net::ERR_" not in str(error.msg):
                raise

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true."""
        WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(lambda _: condition())

    def wait_for(self, text: str) -> None:
        """Wait until the page says this."""
        self.wait(lambda: text in self.text())

    def text(self) -> str:
        """Give what a person reads on the page, on one line."""
        # In one go: an element that was found may be gone with its page before it is read.
        return " ".join(str(self.run("return document.body ? document.body.innerText : ''")).split())

    def address(self) -> str:
        """Give what stands in the address bar."""
        return self.driver.current_url

    def forget(self) -> None:
        """Forget every session, and the last page."""
        self.tell("Network.clearBrowserCookies")
        self.driver.get("about:blank")
        self.complaints()

    def complaints(self) -> list[str]:
        """Give what the console says since the last time: what a policy blocked, what was not found."""
        return [str(each["message"]) for each in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def look(self, *, dark: bool = False, width: int = 1100, height: int = 700) -> bytes:
        """Give a picture of the page (PNG), on a screen of this size and in this scheme, and leave it so."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", features=scheme)
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        return self.driver.get_screenshot_as_png()

    def style(self, selector: str, name: str) -> str:
        """Give a computed style of the first element that the selector fits."""
        return str(
            self.run("return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name)
        )

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script of the test's own, which no page's policy holds back."""
        return self.driver.execute_script(script, *arguments)

    def tell(self, command: str, **parameters: object) -> dict[str, Any]:
        """Give a command of the DevTools protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(command, parameters)
        return answer


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser with nothing in it; it ends with the block."""
    assert _CHROMIUM is not None
    options = ChromeOptions()
    options.binary_location = _CHROMIUM
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The path is given, so nothing is looked for, and nothing is fetched.
    driver = Chrome(options, Service(_DRIVER, env={**os.environ, "LC_ALL": "C.UTF-8"}))
    try:
        driver.set_page_load_timeout(_PATIENCE)
        yield Browser(driver)
    finally:
        driver.quit()
