"""The page about the trainer tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "trainer.md"


def test_the_ten_lines_run_as_they_stand(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 12
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *epochs, accuracy = done.stdout.splitlines()
    assert len(epochs) == 20
    assert float(accuracy) > 0.85
    assert (tmp_path / "digits.npz").exists()
