"""Files of networks and of trainings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import Adam, Momentum, Network, fit, load, save
from trainer.optimizers import OPTIMIZERS, Optimizer
from trainer.persistence import load_checkpoint, save_checkpoint

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
T = X[:, :3].argmax(axis=1)


def network(rng: int = 0, **arguments: Any) -> Network:
    return Network(6, [16, 8], 3, np.random.default_rng(rng), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"batch_norm": True}, {"dropout": 0.3, "activation": "tanh"}, {"initializer": 0.1, "weight_decay": 0.01}],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_network_predicts_bit_for_bit_the_same(tmp_path: Path, arguments: dict[str, Any], dtype: Any) -> None:
    net, x = network(dtype=dtype, **arguments), X.astype(dtype)
    list(fit(net, (x, T), optimizer=Adam(), rng=np.random.default_rng(1), epochs=3, batch_size=10))
    save(net, tmp_path / "deep" / "net.npz")
    loaded = load(tmp_path / "deep" / "net.npz")
    assert loaded.config == net.config
    np.testing.assert_array_equal(loaded.scores(x), net.scores(x))


def test_a_file_needs_no_pickle_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    save(network(), tmp_path / "net.npz")
    save(network(1), tmp_path / "net.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]
    with np.load(tmp_path / "net.npz", allow_pickle=False) as file:
        assert json.loads(str(file["config"]))["hidden"] == [16, 8]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(network(), tmp_path / "net.npz")
    before = (tmp_path / "net.npz").read_bytes()

    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        save(network(1), tmp_path / "net.npz")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_file_without_a_network_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz must hold 'config', but it holds \['a'\]"):
        load(tmp_path / "other.npz")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_training_is_that_without_interruption(tmp_path: Path, name: str) -> None:
    arguments = {"batch_norm": True, "dropout": 0.2, "weight_decay": 0.01}
    file = tmp_path / "training.npz"

    def start() -> tuple[Network, Optimizer, list[np.random.Generator]]:
        net_rng, rng = np.random.default_rng(0), np.random.default_rng(1)
        return Network(6, [16, 8], 3, net_rng, **arguments), OPTIMIZERS[name](), [net_rng, rng]

    def go_on(net: Any, optimizer: Any, generators: Any, done: Any) -> Any:
        return fit(
            net, (X, T), optimizer=optimizer, rng=generators[1], epochs=6, batch_size=10, validation=(X, T), done=done
        )

    net, optimizer, generators = start()
    whole = list(go_on(net, optimizer, generators, 0))
    broken, optimizer, generators = start()
    reports = go_on(broken, optimizer, generators, 0)
    history = [next(reports) for _ in range(3)]
    save_checkpoint(file, "me", broken, optimizer, generators, history)
    resumed, optimizer, generators = start()
    history = load_checkpoint(file, "me", resumed, optimizer, generators)
    assert history == whole[:3]
    assert list(go_on(resumed, optimizer, generators, 3)) == whole[3:]
    np.testing.assert_array_equal(resumed.params, net.params)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    net, optimizer = network(), Momentum()
    list(fit(net, (X, T), optimizer=optimizer, rng=np.random.default_rng(0), epochs=1))
    save_checkpoint(tmp_path / "t.npz", "me", net, optimizer, [], [])
    with pytest.raises(ValueError, match="must belong to the training you, but it belongs to me"):
        load_checkpoint(tmp_path / "t.npz", "you", network(), Momentum(), [])


def test_without_a_checkpoint_the_training_starts_from_the_beginning(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.npz", "me", network(), Momentum(), []) == []
