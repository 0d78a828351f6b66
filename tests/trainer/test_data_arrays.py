"""Decoded arrays in the cache: they save time, and whatever happens to them, the answer stays the same."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_mnist

from trainer import data
from trainer.data import DataError, arrays, mnist

EXPECTED = small_mnist.IMAGES["train"].reshape(50, 12).astype(np.float32) / 255


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(arrays, "_unkept", {})
    folder = small_mnist.install(monkeypatch, tmp_path)
    small_mnist.write(folder)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were unpacked and verified."""
    names = []

    def read(path: Path, file: mnist.File, original: Any = mnist.read) -> np.ndarray:
        names.append(file.name)
        return original(path, file)

    monkeypatch.setattr(mnist, "read", read)
    return names


def kept(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "hpo" / "arrays").glob("train-images*.npy")
    return path


def test_a_file_is_unpacked_once_and_mapped_from_then_on(folder: Path, reads: list[str]) -> None:
    first = data.load_train("mnist")
    assert reads == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    second, part = data.load_train("mnist"), data.load_train("mnist", 5)
    assert len(reads) == 2
    for examples in (first, second):
        np.testing.assert_array_equal(examples.x, EXPECTED)
        np.testing.assert_array_equal(examples.t, small_mnist.LABELS["train"])
    np.testing.assert_array_equal(part.x, EXPECTED[:5])
    for array in (*first, *second, *part):
        assert type(array) is np.ndarray
        assert not array.flags.owndata


def test_the_cache_is_an_npy_file_that_numpy_reads(folder: Path, tmp_path: Path) -> None:
    data.load_train("mnist")
    np.testing.assert_array_equal(np.load(kept(tmp_path), allow_pickle=False), EXPECTED)


def other_type(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, EXPECTED.view(np.int32))


def other_shape(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, EXPECTED.reshape(12, 50))


def pickled(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="truncated"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"0"), id="longer"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros"),
        pytest.param(Path.unlink, id="gone"),
        pytest.param(other_type, id="another type"),
        pytest.param(other_shape, id="another shape"),
        pytest.param(pickled, id="a pickle"),
    ],
)
def test_an_array_that_is_not_as_it_was_written_is_made_again(
    folder: Path, tmp_path: Path, reads: list[str], damage: Callable[[Path], object]
) -> None:
    data.load_train("mnist")
    reads.clear()
    damage(kept(tmp_path))
    np.testing.assert_array_equal(data.load_train("mnist").x, EXPECTED)
    assert reads == ["train-images-idx3-ubyte.gz"]
    np.testing.assert_array_equal(np.load(kept(tmp_path), allow_pickle=False), EXPECTED)
    data.load_train("mnist")
    assert len(reads) == 1


def test_an_array_that_is_replaced_does_not_change_under_who_uses_it(folder: Path, tmp_path: Path) -> None:
    first = data.load_train("mnist").x
    kept(tmp_path).unlink()
    data.load_train("mnist")
    np.testing.assert_array_equal(first, EXPECTED)


def test_a_replaced_source_is_verified_again(folder: Path, reads: list[str]) -> None:
    data.load_train("mnist")
    reads.clear()
    path = folder / "train-images-idx3-ubyte.gz"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    np.testing.assert_array_equal(data.load_train("mnist").x, EXPECTED)
    assert reads == ["train-images-idx3-ubyte.gz"]
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(DataError, match="damaged"):
        data.load_train("mnist")


def test_a_copy_elsewhere_is_verified_for_itself(
    folder: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data.load_train("mnist")
    small_mnist.write(tmp_path / "copy" / "mnist")
    (tmp_path / "copy" / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    monkeypatch.setenv("HPO_DATA_DIR", str(tmp_path / "copy"))
    with pytest.raises(DataError, match=f"{tmp_path}/copy/mnist/train-labels"):
        data.load_train("mnist")
    kept(tmp_path)  # one array for the images of both


def test_two_copies_in_turns_are_verified_once_each(
    folder: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_mnist.write(tmp_path / "copy" / "mnist")
    for base in ("data", "copy", "data", "copy"):
        monkeypatch.setenv("HPO_DATA_DIR", str(tmp_path / base))
        data.load_train("mnist")
    assert sorted(reads) == ["train-images-idx3-ubyte.gz"] * 2 + ["train-labels-idx1-ubyte.gz"] * 2


def test_a_missing_source_is_missing_though_its_array_is_kept(folder: Path) -> None:
    data.load_train("mnist")
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not in"):
        data.load_train("mnist")


@pytest.mark.parametrize("obstacle", ["file", "homeless", "full"])
def test_where_nothing_can_be_kept_each_process_decodes_once_and_says_so(
    folder: Path,
    tmp_path: Path,
    reads: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: str,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def homeless() -> Path:
        raise RuntimeError("no home")

    if obstacle == "file":
        (tmp_path / "cache").write_text("a file in the folder's place")
    elif obstacle == "full":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", homeless)
    for _ in range(2):
        np.testing.assert_array_equal(data.load_train("mnist").x, EXPECTED)
    assert reads == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "cannot be kept" in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".npy")] == []
    with pytest.raises(ValueError, match="read-only"):
        data.load_train("mnist").x[0, 0] = 1


def test_what_a_killed_process_left_is_removed_but_not_what_another_is_writing(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "hpo" / "arrays"
    cache.mkdir(parents=True)
    dead, alive = cache / ".train.npy.abc.tmp", cache / ".train.npy.xyz.tmp"
    for path in (dead, alive):
        path.write_bytes(b"half")
    os.utime(dead, (0, time.time() - 2 * arrays._STALE_SECONDS))
    data.load_train("mnist")
    assert not dead.exists()
    assert alive.exists()


def test_processes_that_build_the_cache_at_once_do_not_disturb_each_other(folder: Path, tmp_path: Path) -> None:
    code = f"""if True:
{small_mnist.PREAMBLE.replace(chr(10), chr(10) + "    ").join(["    ", ""])}
    import sys
    from pathlib import Path
    from trainer.data import arrays
    sums = set()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(60):
        for path in Path({str(tmp_path / "cache")!r}).rglob("*.npy"):
            path.unlink(missing_ok=True)
        arrays._unkept.clear()
        x, t = load_train("mnist")
        sums.add((float(x.sum(dtype="f8")), int(t.sum())))
    print(sums)
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        ends = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    expected = {(float(EXPECTED.sum(dtype="f8")), int(small_mnist.LABELS["train"].sum()))}
    assert [(worker.returncode, out) for worker, (out, _) in zip(workers, ends, strict=True)] == [
        (0, f"{expected}\n")
    ] * 3
    np.testing.assert_array_equal(data.load_train("mnist").x, EXPECTED)
    assert list((tmp_path / "cache").rglob("*.tmp")) == []


@pytest.mark.mnist
def test_processes_share_one_mapped_copy_of_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data.load_train("mnist")
    code = """if True:
        from trainer import data
        x = data.load_train("mnist").x
        print(x.shape, float(x.sum(dtype="f8")) > 0)
        maps = open("/proc/self/maps").read() if __import__("sys").platform == "linux" else "train-images.npy"
        print(sum("train-images" in line and ".npy" in line for line in maps.splitlines()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(60000, 784) True\n1\n"
