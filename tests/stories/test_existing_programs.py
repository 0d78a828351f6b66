"""Programs that know nothing of hpo, searched unedited: TPE, ASHA, two workers, and the driver killed meanwhile.

Hydra's own sphere example is in no package. Where ``HPO_HYDRA_SWEEPER`` names ``plugins/hydra_optuna_sweeper`` of a
clone of Hydra, it is searched as it lies there. Its configuration names that plugin, which is imported from the clone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# In the style of Hydra's examples: a decorated function that returns what is to be minimized.
SPHERE = """
import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path="conf", config_name="config")
def sphere(cfg: DictConfig) -> float:
    return cfg.x**2 + cfg.y**2


if __name__ == "__main__":
    sphere()
"""
HYDRA = """
name = "sphere"
objective = [
    "python", "sphere.py", "{overrides}", "hydra.run.dir='{folder}'",
    "+hydra.callbacks.hpo._target_=hpo.callbacks.hydra.ReportCallback",
]
metric = "value"
direction = "minimize"
space.x = { low = -5.5, high = 5.5, step = 0.5 }
space.y = { choice = [-5, 0, 5] }
sampler.name = "tpe"
pruner = { name = "asha", min_resource = 1 }
budget.trials = 12
"""
# A training script as people write them: flags in, lines out.
CLASSIC = """
import argparse
import time

parser = argparse.ArgumentParser(description="MNIST Example")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--gamma", type=float, default=0.7)
parser.add_argument("--no-accel", action="store_true")
args = parser.parse_args()

loss = 2.3
for epoch in range(1, args.epochs + 1):
    for batch in range(0, 300, 100):
        print(f"Train Epoch: {epoch} [{batch}/300]\\tLoss: {loss:.6f}")
    loss *= 1 - min(args.lr, 1.9) / (4 + args.batch_size / 64)
    args.lr *= args.gamma
    print(f"\\nTest set: Average loss: {loss:.4f}, Accuracy: {100 - 40 * loss:.0f}/100\\n", flush=True)
    time.sleep(0.3)
"""
ARGPARSE = r"""
name = "classic"
objective = ["python", "main.py", "{args}"]
metric = "loss"
direction = "minimize"
fixed = { epochs = 9, no_accel = true }
space.lr = { low = 0.01, high = 2.0, log = true }
space.batch_size = { low = 16, high = 256, log = true }
arguments = { batch_size = "--batch-size", no_accel = "--no-accel" }
reports.pattern = 'Test set: Average loss: (?P<loss>\S+), Accuracy: (?P<accuracy>\d+)'
sampler.name = "tpe"
pruner = { name = "asha", min_resource = 1, reduction_factor = 3 }
budget.trials = 24
"""
LIGHTNING = """
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader(count):
    points = torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
    return DataLoader(TensorDataset(points, points.sum(dim=1, keepdim=True)), batch_size=32)


class Line(LightningModule):
    def __init__(self, lr: float = 0.01, width: int = 8):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))

    def training_step(self, batch, index):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return loader(128)

    def val_dataloader(self):
        return loader(64)


if __name__ == "__main__":
    LightningCLI(Line, save_config_callback=None)
"""
LIGHTNING_STUDY = """
name = "line"
objective = [
    "python", "line.py", "fit", "{args}", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir={folder}",
    "--trainer.max_epochs=4", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    "--trainer.num_sanity_val_steps=0", "--trainer.logger.flush_logs_every_n_steps=1",
    "--trainer.enable_checkpointing=false",
]
metric = "val_loss"
direction = "minimize"
space."model.lr" = { low = 1e-3, high = 0.1, log = true }
space."model.width" = { low = 4, high = 32, log = true }
reports.csv = "{folder}/lightning_logs/version_*/metrics.csv"
sampler.name = "tpe"
pruner = { name = "asha", min_resource = 1, reduction_factor = 2 }
budget.trials = 4
"""
PROGRAMS = {
    "sphere": ({"sphere.py": SPHERE, "conf/config.yaml": "x: 1\ny: 1\n", "s.toml": HYDRA}, 12),
    "classic": ({"main.py": CLASSIC, "s.toml": ARGPARSE}, 24),
    "line": ({"line.py": LIGHTNING, "s.toml": LIGHTNING_STUDY}, 4),
}


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("name", [*list(PROGRAMS)[:2], pytest.param("line", marks=pytest.mark.torch)])
def test_a_program_is_searched_unedited_and_survives_its_drivers_death(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"sphere": "hydra", "classic": "argparse", "line": "lightning"}[name])
    files, budget = PROGRAMS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    survives_its_drivers_death(tmp_path, name, budget, {})


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.skipif("HPO_HYDRA_SWEEPER" not in os.environ, reason="HPO_HYDRA_SWEEPER names no plugin of Hydra")
def test_hydras_own_sphere_is_searched_unedited_and_survives_its_drivers_death(tmp_path: Path) -> None:
    pytest.importorskip("hydra")
    plugin = Path(os.environ["HPO_HYDRA_SWEEPER"]).resolve()
    shutil.copytree(plugin / "example", tmp_path, dirs_exist_ok=True)
    (tmp_path / "s.toml").write_text(HYDRA)
    survives_its_drivers_death(tmp_path, "sphere", 12, {"PYTHONPATH": str(plugin)})


def survives_its_drivers_death(tmp_path: Path, name: str, budget: int, variables: dict[str, str]) -> None:
    """Searches s.toml, kills the driver in the middle, and searches on: the budget is spent exactly."""
    environment = {key: value for key, value in os.environ.items() if key not in ("HPO_STORAGE", "RAY_ADDRESS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment |= variables
    command = ["hpo", "run", "s.toml", "--workers", "2", "--tracking", "none", "--json"]

    def shown() -> dict[str, int]:
        ended = subprocess.run(
            ["hpo", "show", name, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return dict(json.loads(ended.stdout)["trials"]) if ended.returncode == 0 else {}

    first = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        while shown().get("complete", 0) + shown().get("pruned", 0) < 2:
            assert time.monotonic() < deadline
            assert first.poll() is None, "the search ended before its driver could be killed"
            time.sleep(0.1)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    before = shown()
    assert before["complete"] + before["pruned"] < budget
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert ended.returncode == 0, ended.stderr
    counts = json.loads(ended.stdout)["trials"]
    assert counts["complete"] + counts["pruned"] == budget, counts
    assert counts["failed"] == 0
    kept = list(tmp_path.glob(f".hpo/trials/{name}/*/files"))
    assert len(kept) <= 1
