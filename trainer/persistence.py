"""Saving and loading, as .npz files without pickle.

A network file has what is needed to predict. A checkpoint also has what is needed to continue a training: the
optimizer's state, the random generators and the metrics so far.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.network import Network
from trainer.optimizers import Optimizer


def save(network: Network, path: str | Path) -> None:
    """Writes the network to `path`; replaces a file of that name in one step."""
    _write(Path(path), _network_arrays(network) | {"config": np.array(json.dumps(network.config))})


def load(path: str | Path, rng: np.random.Generator | None = None) -> Network:
    """Reads a network that `save` wrote; it predicts bit for bit the same.

    Args:
        path: the file.
        rng: decides what dropout removes if the training continues; None starts from seed 0.

    Raises:
        ValueError: if the file does not hold a network.
    """
    arrays = _read(Path(path), "config")
    config = json.loads(str(arrays["config"]))
    network = Network(rng=np.random.default_rng(0) if rng is None else rng, **config)
    _set_network(network, arrays)
    return network


def save_checkpoint(
    path: Path,
    owner: str,
    network: Network,
    optimizer: Optimizer,
    generators: Sequence[np.random.Generator],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Writes a training's state at the end of an epoch; replaces a file of that name in one step.

    Args:
        path: the file.
        owner: identifies the training; loading checks that it is the same.
        network: its parameters and running statistics are saved.
        optimizer: its state is saved.
        generators: their states are saved.
        history: metrics of the finished epochs.
    """
    progress = {"owner": owner, "generators": [rng.bit_generator.state for rng in generators], "history": list(history)}
    optimizer_arrays = {f"optimizer_{name}": np.asarray(value) for name, value in optimizer.state().items()}
    _write(path, _network_arrays(network) | optimizer_arrays | {"progress": np.array(json.dumps(progress))})


def load_checkpoint(
    path: Path, owner: str, network: Network, optimizer: Optimizer, generators: Sequence[np.random.Generator]
) -> list[dict[str, float]]:
    """Restores everything as `save_checkpoint` saw it; returns the metrics of the finished epochs.

    Args:
        path: the file; if it does not exist, nothing changes and the list is empty.
        owner: what identified the training when it was saved.
        network: one of the same architecture.
        optimizer: a new one of the same kind.
        generators: as many, of the same kinds, as were saved.

    Raises:
        ValueError: if the file does not hold a checkpoint of such a training.
    """
    if not path.exists():
        return []
    arrays = _read(path, "progress")
    progress = json.loads(str(arrays["progress"]))
    if progress["owner"] != owner:
        raise ValueError(f"{path} must belong to the training {owner}, but it belongs to {progress['owner']}")
    _set_network(network, arrays)
    optimizer.load_state(network.params, {name: arrays[f"optimizer_{name}"] for name in ("steps", "state")})
    for rng, state in zip(generators, progress["generators"], strict=True):
        rng.bit_generator.state = state
    history: list[dict[str, float]] = progress["history"]
    return history


def _network_arrays(network: Network) -> dict[str, Any]:
    return {"params": network.params} | network.state()


def _set_network(network: Network, arrays: Mapping[str, Any]) -> None:
    for name, own in _network_arrays(network).items():
        if name not in arrays or arrays[name].shape != own.shape:
            raise ValueError(f"the file must hold {name!r} of shape {own.shape}, but it does not")
        own[...] = arrays[name]


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink()
        raise


def _read(path: Path, marker: str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if marker not in arrays:
        raise ValueError(f"{path} must hold {marker!r}, but it holds {sorted(arrays)}")
    return arrays
