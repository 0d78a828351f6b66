"""Makes the screenshots of docs/images anew, from a study run for real: ``python tests/hpo/browser/pictures.py``.

Needs Chromium and a free port; takes about a minute.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "images"
STUDY = ROOT / "studies" / "digits.toml"
PATIENCE = 120_000


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        hpo("run", str(STUDY), "--quiet", "--set", "pruner.name=median", "--set", "sampler.name=tpe", folder=folder)
        hpo("report", "digits", folder=folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "hpo", "ui", "digits", "--port", str(port), "--no-browser"]
        log = Path(folder, "log")
        with log.open("w") as out:
            server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            while "Ctrl-C ends it" not in log.read_text():
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            links = {line.split(": ")[0]: line.split()[-1] for line in log.read_text().splitlines() if "/#/" in line}
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), chromium_sandbox=os.geteuid() != 0
                )
                ui(browser, links)
                page = browser.new_page(viewport={"width": 1180, "height": 1040})
                page.goto(Path(folder, "reports", "digits", "report.html").as_uri())
                page.screenshot(path=IMAGES / "report.png")
                browser.close()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def ui(browser: Any, links: dict[str, str]) -> None:
    """The table of trials, their charts, and a trial's curves."""
    page = browser.new_page(viewport={"width": 1500, "height": 760})
    page.set_default_timeout(PATIENCE)
    page.goto(links["digits"])
    page.wait_for_selector(".ag-row .ag-cell")
    close = page.get_by_role("complementary").get_by_role("button", name="Close")
    if close.count():  # the assistant's panel
        close.first.click()
    page.wait_for_timeout(2000)
    page.screenshot(path=IMAGES / "mlflow_trials.png")
    page.locator(".ag-row a", has_text="trial").first.click()
    page.get_by_role("tab", name="Model metrics").click()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 3")
    page.wait_for_timeout(2000)
    page.screenshot(path=IMAGES / "mlflow_trial.png")
    page.goto("about:blank")
    page.goto(links["charts"])
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 3")
    page.wait_for_timeout(3000)
    page.screenshot(path=IMAGES / "mlflow_charts.png")
    page.close()


def hpo(*words: str, folder: str) -> None:
    subprocess.run([sys.executable, "-m", "hpo", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
