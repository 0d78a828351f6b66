"""Makes the screenshots of docs/images anew, from studies run for real: ``python tests/hpo/browser/pictures.py``.

Needs Chromium, the real MNIST (HPO_DATA_DIR) and a minute or two. ``pictures.py ui``, ``pictures.py report`` and
``pictures.py front`` make a part.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "images"
PATIENCE = 120_000


def main() -> None:
    from playwright.sync_api import sync_playwright

    parts = sys.argv[1:] or ["ui", "report", "front"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=os.geteuid() != 0
        )
        if "ui" in parts:
            changes = ("--set", "pruner.name=median", "--set", "sampler.name=tpe")
            hpo("run", "studies/digits.toml", "--quiet", "--workers", "0", *changes, folder=folder)
            with served(folder) as links:
                ui(browser, links)
        if "report" in parts:
            hpo("run", "studies/fig_6_24.toml", "--quiet", "--tracking", "none", folder=folder)
            hpo("report", "fig-6-24", folder=folder)
            report(browser, Path(folder, "reports", "fig-6-24", "report.html"))
        if "front" in parts:
            hpo("run", "studies/accuracy_and_size.toml", "--quiet", "--tracking", "none", folder=folder)
            hpo("report", "accuracy-and-size", folder=folder)
            image = IMAGES / "accuracy_and_size.png"
            shutil.copy(Path(folder, "reports", "accuracy-and-size", "pareto_front.png"), image)
            small(image)
        browser.close()


@contextmanager
def served(folder: str) -> Iterator[dict[str, str]]:
    """The links of ``hpo ui digits``, by their titles."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hpo", "ui", "digits", "--port", str(port), "--no-browser"]
    log = Path(folder, "log")
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        while "Press Ctrl-C to stop" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield {line.split(": ")[0]: line.split()[-1] for line in log.read_text().splitlines() if "#/" in line}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def report(browser: Any, file: Path) -> None:
    """The top of a report's page, its figures with a marked trial in the dark, and what a phone shows."""
    for name, size, scheme in (
        ("report", {"width": 1180, "height": 1040}, "light"),
        ("report_dark", {"width": 1180, "height": 900}, "dark"),
        ("report_narrow", {"width": 400, "height": 800}, "light"),
    ):
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.goto(file.as_uri())
        if scheme == "dark":
            page.locator("table.sortable tbody tr", has_text="complete").nth(3).click()
            page.locator("#figure-slices").scroll_into_view_if_needed()
            page.evaluate("document.querySelector('#figure-slices').scrollIntoView()")
        page.screenshot(path=IMAGES / f"{name}.png")
        small(IMAGES / f"{name}.png")
        page.close()


def small(file: Path) -> None:
    """Makes a screenshot a picture of few colours."""
    from PIL import Image

    Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)


def ui(browser: Any, links: dict[str, str]) -> None:
    """The table of trials, as a new browser shows it at the root; a trial's curves; and the charts of all trials."""
    page = browser.new_page(viewport={"width": 1500, "height": 760})
    page.set_default_timeout(PATIENCE)
    page.goto(links["digits"].partition("#")[0])
    page.wait_for_selector(".ag-row .ag-cell")
    page.wait_for_timeout(4000)
    page.screenshot(path=IMAGES / "mlflow_trials.png")
    page.locator(".ag-row a", has_text="trial").first.click()
    page.get_by_role("tab", name="Model metrics").click()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 3")
    page.wait_for_timeout(2000)
    page.screenshot(path=IMAGES / "mlflow_trial.png")
    page.goto("about:blank")
    page.goto(links["charts"])
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 2")
    page.wait_for_timeout(3000)
    page.screenshot(path=IMAGES / "mlflow_charts.png")
    page.close()


def hpo(*words: str, folder: str) -> None:
    words = tuple(str(ROOT / word) if word.startswith("studies/") else word for word in words)
    subprocess.run([sys.executable, "-m", "hpo", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
