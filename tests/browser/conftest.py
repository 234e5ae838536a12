"""A real headless Chromium for the pages; without one the tests are skipped, or fail where MARGINOME_REQUIRE_ALL=1."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from marginome.report import Link, ScreenEntry, write_overview, write_report
from synthetic_screen import synthetic_screen
from workspace import cannot_run


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    cannot_run(f"{names[0]} is not installed (Debian packages chromium and chromium-driver)")


class Browser:
    """One browser window, with what it logged and asked the network for."""

    def __init__(self, downloads: Path):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        program, driver = _program("chromium", "chromium-browser", "google-chrome"), _program("chromedriver")
        options = Options()
        options.binary_location = program
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.downloads = downloads
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads), "eventsEnabled": True}
        )

    def open(self, path: Path, fragment: str = "", *, ready: bool = True) -> Browser:
        self.driver.get("about:blank")  # or only the fragment would change
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "file://", "storageTypes": "all"})
        self.logged()
        self.requests()
        self.driver.get(path.as_uri() + fragment)
        if ready:
            self.wait("return document.documentElement.dataset.ready === 'yes'")
        return self

    def seconds_to_open(self, path: Path, tries: int = 3) -> float:
        """Seconds of the page's own thread, the least of some tries: a busy machine does not count."""
        self.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        seconds = []
        for _ in range(tries):
            self.open(path)
            metrics = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            seconds.append(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))
        self.driver.execute_cdp_cmd("Performance.disable", {})
        return min(seconds)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments, seconds: float = 30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if result := self.run(script, *arguments):
                return result
            time.sleep(0.03)
        raise AssertionError(f"never true: {script}; the browser logged {self.logged()}")

    def logged(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, the page's own among them."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def media(self, scheme: str) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def size(self, width: int, height: int = 1000) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def key(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    # ---- this page
    def set(self, control: str, value: str) -> None:
        """Set a filter as a reader's typing or choosing would."""
        self.run(
            "const c = document.getElementById(arguments[0]); c.value = arguments[1];"
            "c.dispatchEvent(new Event(c.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true}));",
            control, value,
        )  # fmt: skip

    def column(self, title: str) -> list[str]:
        """Cells of one column of the rows that are drawn."""
        return self.run(
            "const all = [...document.querySelectorAll('#thead th')];"
            "const i = all.findIndex(h => h.textContent.startsWith(arguments[0]));"
            "return [...document.querySelectorAll('#tbody tr.row')].map(r => r.children[i].textContent)",
            title,
        )

    def header(self, title: str) -> None:
        self.run(
            "[...document.querySelectorAll('#thead button')].find(b => b.textContent.startsWith(arguments[0])).click()",
            title,
        )

    def tab(self, title: str) -> None:
        script = "[...document.querySelectorAll('#tabs button')].find(b => b.textContent === arguments[0]).click()"
        self.run(script, title)
        time.sleep(0.15)

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map(n => n.textContent)", selector)

    def text(self, selector: str) -> str:
        return self.texts(selector)[0]

    def downloaded(self, name: str) -> Path:
        """Click Download, wait for the file."""
        target = self.downloads / name
        target.unlink(missing_ok=True)
        self.run("document.getElementById('download').click()")
        end = time.monotonic() + 20
        while not (target.exists() and target.stat().st_size):
            assert time.monotonic() < end, f"{name} was not downloaded; there is {list(self.downloads.iterdir())}"
            time.sleep(0.05)
        return target

    @property
    def count(self) -> str:
        return self.run("return document.getElementById('count').textContent")

    @property
    def chosen(self) -> str:
        return self.run("return document.querySelector('#detail h2')?.textContent ?? ''")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    window = Browser(tmp_path_factory.mktemp("downloads"))
    yield window
    window.driver.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of synthetic screens, built once."""
    folder = tmp_path_factory.mktemp("pages")

    def build(name: str, **options) -> Path:
        screen = synthetic_screen(**options)
        path = folder / f"{name}.html"
        write_report(
            path, effects=screen.effects, motifs=screen.motifs, per_background=screen.per_background,
            baseline=screen.baseline, profiles=screen.profiles, title=f"Screen {name}", name=name,
            commands=["snakemake --cores all"], provenance={"seed": 0}, overview="index.html",
        )  # fmt: skip
        return path

    tasks = tuple(f"task {i}" for i in range(12))
    made = {
        "small": build("small", n_motifs=60),
        "hostile": build("hostile", n_motifs=30, hostile=True),
        "large": build("large", n_motifs=1019, outputs=tasks),
    }
    made["overview"] = folder / "index.html"
    entry = ScreenEntry("small", "small.html", synthetic_screen(20).effects, [Link("table", "effects.tsv.gz")])
    write_overview(made["overview"], title="All results", screens=[entry], commands=["make demo"])
    return made
