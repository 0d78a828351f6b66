"""The data sets and their three roles: chapter rows X2, H1 and H2."""

import builtins
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_mnist
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from trainer import data
from trainer.data import DataError, Examples, digits, mnist


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = small_mnist.install(monkeypatch, tmp_path)
    small_mnist.write(folder)
    return folder


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- X2: the facts of the real thing


@pytest.mark.mnist
def test_mnist_has_the_counts_mean_and_first_labels_of_the_chapter() -> None:
    train, test = data.load_train("mnist"), data.load_test("mnist")
    assert train.x.shape == (60_000, 784)
    assert test.x.shape == (10_000, 784)
    assert train.t.shape == (60_000,)
    assert test.t.shape == (10_000,)
    assert round(train.x.mean(dtype=np.float64), 4) == 0.1307
    assert np.bincount(train.t[:300]).tolist() == [34, 39, 28, 34, 32, 23, 29, 29, 21, 31]
    assert data.describe("mnist") == (784, 10, 60_000, 10_000)


@pytest.mark.mnist
def test_a_size_takes_the_first_images_in_canonical_order() -> None:
    whole, part = data.load_train("mnist"), data.load_train("mnist", 500)
    np.testing.assert_array_equal(part.x, whole.x[:500])
    np.testing.assert_array_equal(part.t, whole.t[:500])


@pytest.mark.mnist
@pytest.mark.parametrize(("size", "validation_size"), [(60_000, 12_000), (500, 100)])
def test_mnist_splits_into_a_fifth_and_the_rest(size: int, validation_size: int) -> None:
    train, validation = data.split_validation(data.load_train("mnist", size), 0.2, np.random.default_rng(0))
    assert len(validation.t) == len(validation.x) == validation_size
    assert len(train.t) == len(train.x) == size - validation_size


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_without_mnist_its_tests_are_skipped_but_not_in_ci(ci: str, outcome: str, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("import pytest\n\n@pytest.mark.mnist\ndef test_it():\n    pass\n")
    tests = Path(__file__).parents[1]
    configuration = tests.parent / "pyproject.toml"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            configuration,
            "-p",
            "conftest",
            "-p",
            "no:cacheprovider",
            "-m",
            "mnist",
            test,
        ],
        env={
            **os.environ,
            "CI": ci,
            "HPO_DATA_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(tests), str(tests / "hpo" / "helpers")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
    assert "hpo fetch mnist" in done.stdout


# --- loading


def test_importing_the_data_sets_imports_nothing_but_numpy_and_the_standard_library() -> None:
    code = """if True:
        import sys
        before = set(sys.modules)
        import trainer.data
        print(*{name.partition(".")[0] for name in set(sys.modules) - before})
    """
    imported = set(run(code).split()) - sys.stdlib_module_names
    assert {name for name in imported if "cython" not in name} == {
        "numpy",
        "trainer",
    }  # NumPy is built with it


def test_pixels_are_scaled_to_one_and_labels_are_integers(folder: Path) -> None:
    x, t = data.load_train("mnist")
    assert x.dtype == np.float32
    assert t.dtype == np.int64
    np.testing.assert_array_equal(x, small_mnist.IMAGES["train"].reshape(50, 12).astype(np.float32) / 255)
    np.testing.assert_array_equal(t, small_mnist.LABELS["train"])
    assert data.load_train("mnist", 7).x.tolist() == x[:7].tolist()
    assert data.load_train("mnist", 7).t.tolist() == t[:7].tolist()


def test_the_test_set_is_the_other_pair_of_files(folder: Path) -> None:
    x, t = data.load_test("mnist")
    assert x.dtype == np.float32
    assert t.dtype == np.int64
    np.testing.assert_array_equal(x, small_mnist.IMAGES["t10k"].reshape(20, 12).astype(np.float32) / 255)
    np.testing.assert_array_equal(t, small_mnist.LABELS["t10k"])


def test_nobody_changes_shared_images_by_accident(folder: Path) -> None:
    for examples in (*map(data.load_train, ("mnist", "digits")), *map(data.load_test, ("mnist", "digits"))):
        with pytest.raises(ValueError, match="read-only"):
            examples.x[0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            examples.t[0] = 1


@pytest.mark.parametrize("size", [0, -1, 51])
def test_a_size_the_data_set_does_not_have_is_refused(folder: Path, size: int) -> None:
    with pytest.raises(ValueError, match=rf"`1 <= size <= 50` must hold for 'mnist', but got size={size}"):
        data.load_train("mnist", size)


@pytest.mark.parametrize("function", [data.load_train, data.load_test, data.describe, data.check])
def test_an_unknown_data_set_is_refused_with_the_legal_ones(function: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="must be one of 'digits', 'mnist', but got 'minst'"):
        function("minst")


# --- H2: the sealed test set


def test_without_the_test_files_everything_works_but_the_test(folder: Path) -> None:
    for name in small_mnist.NAMES:
        if name.startswith("t10k"):
            (folder / name).unlink()
    data.check("mnist")
    train, validation = data.split_validation(data.load_train("mnist"), 0.2, np.random.default_rng(0))
    assert (len(train.t), len(validation.t)) == (40, 10)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is not in"):
        data.load_test("mnist")


def test_a_search_neither_opens_nor_looks_for_a_test_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = []

    def spied(original: Callable[..., object]) -> Callable[..., object]:
        def spy(path: object, *args: object, **kwargs: object) -> object:
            touched.append(str(path))
            return original(path, *args, **kwargs)

        return spy

    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "listdir")):
        monkeypatch.setattr(module, name, spied(getattr(module, name)))
    data.check("mnist")
    data.load_train("mnist")
    data.load_train("mnist", 10)
    assert any("train-images" in path for path in touched)
    assert [path for path in touched if "t10k" in path or path == str(folder)] == []


def test_the_test_set_leaves_no_decoded_copy(folder: Path, tmp_path: Path) -> None:
    data.load_test("mnist")
    assert not (tmp_path / "cache").exists()


# --- where the files lie


def test_files_lie_in_the_cache_folder_unless_a_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HPO_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert mnist.folder() == tmp_path / ".cache" / "hpo" / "mnist"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert mnist.folder() == Path("/elsewhere/hpo/mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert mnist.folder() == tmp_path / ".cache" / "hpo" / "mnist"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert mnist.folder() == tmp_path / "Library" / "Caches" / "hpo" / "mnist"
    monkeypatch.setenv("HPO_DATA_DIR", "~/data")
    assert mnist.folder() == tmp_path / "data" / "mnist"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPO_DATA_DIR", "here")
    assert mnist.folder() == tmp_path / "here" / "mnist"


# --- digits


def test_digits_are_those_of_scikit_learn_in_its_order() -> None:
    train, test = data.load_train("digits"), data.load_test("digits")
    pixels, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(np.concatenate([train.x, test.x]), (pixels / 16).astype(np.float32))
    np.testing.assert_array_equal(np.concatenate([train.t, test.t]), labels)
    assert (train.x.dtype, train.t.dtype) == (np.dtype(np.float32), np.dtype(np.int64))
    assert data.describe("digits") == (64, 10, len(train.t), len(test.t))
    assert (len(train.t), len(test.t)) == (1437, 360)
    assert data.load_train("digits", 100).t.tolist() == labels[:100].tolist()


def test_digits_are_loaded_without_the_second_that_importing_scikit_learn_takes() -> None:
    code = "import sys; from trainer import data; data.load_train('digits'); print('sklearn' in sys.modules)"
    assert run(code) == "False\n"


def test_digits_that_lie_elsewhere_are_asked_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual = data.load_train("digits")
    monkeypatch.setattr(digits, "_package", lambda: tmp_path)
    monkeypatch.setattr(digits, "_load", digits._load.__wrapped__)
    np.testing.assert_array_equal(data.load_train("digits").x, usual.x)
    np.testing.assert_array_equal(data.load_train("digits").t, usual.t)


def test_without_scikit_learn_digits_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="comes with scikit-learn, which is not installed"):
        data.check("digits")


# --- H1: the validation split


def numbered(size: int) -> Examples:
    """Rows that tell their number, with a label that follows from it."""
    number = np.arange(size)
    return Examples(np.stack([number, -number], axis=1).astype(np.float32), number * 7)


@given(st.integers(2, 300), st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 2**32))
def test_a_split_is_disjoint_complete_and_keeps_pairs_together(size: int, rate: float, seed: int) -> None:
    examples = numbered(size)
    if not 0 < round(rate * size) < size:
        with pytest.raises(ValueError, match="both parts of a split must hold at least one example"):
            data.split_validation(examples, rate, np.random.default_rng(seed))
        return
    train, validation = data.split_validation(examples, rate, np.random.default_rng(seed))
    assert len(validation.t) == round(rate * size)
    numbers = np.concatenate([train.x[:, 0], validation.x[:, 0]])
    assert sorted(numbers) == list(range(size))
    for part in (train, validation):
        np.testing.assert_array_equal(part.t, part.x[:, 0] * 7)
        np.testing.assert_array_equal(part.x[:, 0], -part.x[:, 1])
        assert part.x.dtype == np.float32
        assert part.t.dtype == np.int64
    again = data.split_validation(examples, rate, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0].t, train.t)
    np.testing.assert_array_equal(again[1].t, validation.t)


def test_a_split_shuffles_and_leaves_its_input_alone() -> None:
    examples = numbered(100)
    train, validation = data.split_validation(examples, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(examples.t, np.arange(100) * 7)
    assert validation.t.tolist() != sorted(validation.t)
    assert train.t.tolist() != sorted(train.t)
    other, _ = data.split_validation(examples, 0.2, np.random.default_rng(1))
    assert other.t.tolist() != train.t.tolist()


def test_the_validation_share_is_exact_where_floating_point_is_not() -> None:
    train, validation = data.split_validation(numbered(100), 0.29, np.random.default_rng(0))  # 28.999999999999996
    assert (len(train.t), len(validation.t)) == (71, 29)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"`0 < rate < 1` must hold, but got rate={rate}"):
        data.split_validation(numbered(10), rate, np.random.default_rng(0))


def test_images_without_labels_are_refused() -> None:
    x, t = numbered(10)
    with pytest.raises(ValueError, match="one label, but got 10 images and 9 labels"):
        data.split_validation(Examples(x, t[:9]), 0.2, np.random.default_rng(0))
