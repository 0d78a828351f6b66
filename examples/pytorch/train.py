"""A small network in PyTorch on scikit-learn's digits; it reports every epoch and resumes from its checkpoint."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

X, Y = load_digits(return_X_y=True)
X = torch.tensor(X / 16.0, dtype=torch.float32)
Y = torch.tensor(Y)
TRAIN, VALIDATION = slice(0, 1200), slice(1200, None)


def objective(params, seed, checkpoint="."):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, params["hidden"]), nn.ReLU(), nn.Linear(params["hidden"], 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=params["lr"], weight_decay=params["weight_decay"])
    saved = Path(checkpoint) / "state.pt"
    state = torch.load(saved, weights_only=False) if saved.exists() else {"history": []}
    yield from state["history"]  # the reports before an interruption, again
    if state["history"]:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(len(state["history"]), params["epochs"]):
        order = torch.randperm(1200, generator=torch.Generator().manual_seed(seed + epoch))
        for batch in order.split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X[TRAIN][batch]), Y[TRAIN][batch]).backward()
            optimizer.step()
        with torch.no_grad():
            scores = network(X[VALIDATION])
        report = {
            "val_loss": float(nn.functional.cross_entropy(scores, Y[VALIDATION])),
            "val_accuracy": float((scores.argmax(1) == Y[VALIDATION]).float().mean()),
        }
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()} | {
            "history": [*state["history"], report]
        }
        torch.save(state, saved.with_suffix(".new"))
        saved.with_suffix(".new").replace(saved)  # whole or not at all
        yield report
