"""``hpo init``: a study file for a function, a script or a notebook, which is valid as it stands."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from command_line import QUICK, CommandLine
from pseudo_terminal import drain

FUNCTION = """
def helper(a, b):
    return a["no"]

def objective(params, seed):
    for epoch in range(params["epochs"]):
        yield {"loss": params["lr"] * params.get("weight_decay", 0.0) + epoch * params["hidden_size"]}
"""
SCRIPT = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("-l", "--learning-rate", type=float)
parser.add_argument('--momentum', type=float)
parser.add_argument("--seed", type=int)
args = parser.parse_args()
print(json.dumps({"loss": args.learning_rate + args.momentum}))
"""


def written(hpo: CommandLine, name: str = "study.toml") -> dict[str, Any]:
    return tomllib.loads((hpo.folder / name).read_text())


def test_a_function_becomes_a_study_that_runs(hpo: CommandLine) -> None:
    (hpo.folder / "train.py").write_text(FUNCTION)
    ended = hpo("init", "--objective", "train.py:objective", "--metric", "loss")
    assert ended.out == "study.toml: minimize loss; check its [space], then hpo run study.toml\n"
    study = written(hpo)
    assert (study["name"], study["objective"]) == ("train", "train:objective")
    assert list(study["space"]) == ["lr", "weight_decay", "hidden_size"]
    assert study["fixed"] == {"epochs": 10}
    assert hpo("run", "study.toml", *QUICK, "--trials", "3", "--json").json["trials"]["complete"] == 3


def test_a_file_with_a_function_is_enough(hpo: CommandLine) -> None:
    (hpo.folder / "train.py").write_text(FUNCTION)
    hpo("init", "mine.toml", "--objective", "train.py", "--metric", "val_accuracy")
    study = written(hpo, "mine.toml")
    assert (study["name"], study["objective"], study["direction"]) == ("mine", "train:objective", "maximize")


def test_a_script_becomes_a_command_with_its_arguments(hpo: CommandLine) -> None:
    (hpo.folder / "script.py").write_text(SCRIPT)
    hpo("init", "--objective", "script.py", "--metric", "loss", "--direction", "minimize")
    study = written(hpo)
    arguments = ["--learning-rate={learning_rate}", "--momentum={momentum}", "--seed={seed}"]
    assert study["objective"] == ["python", "script.py", *arguments]
    assert list(study["space"]) == ["learning_rate", "momentum"]
    study_file = hpo.folder / "study.toml"
    study_file.write_text(study_file.read_text().replace('"python"', json.dumps(sys.executable)))
    assert hpo("run", "study.toml", *QUICK, "--trials", "2", "--json").json["trials"]["complete"] == 2


OPTIONS = """
import argparse, pathlib, sys
SOME = 3
p = argparse.ArgumentParser()
p.add_argument("data")
p.add_argument("--epochs", type=int, default=3)
p.add_argument("--log-lr", "-l", type=float, default=SOME)
p.add_argument("--width", type=int)
p.add_argument("--layers", type=int, nargs="+", default=[64, 32])
p.add_argument("--more", nargs="*")
p.add_argument("--use-bias", action="store_true")
p.add_argument("--nesterov", action="store_true")
p.add_argument("--amsgrad", action=argparse.BooleanOptionalAction, default=True)
p.add_argument("--loss", choices=["l1", "l2"], default="l2")
p.add_argument("--out-dir", type=pathlib.Path)
p.add_argument("--device", default="cpu")
p.add_argument("--version", action="version", version="1")
a = p.parse_args(["data", *sys.argv[1:]])
print("epoch 1: loss=%s" % (len(a.layers) + a.log_lr * a.width + a.amsgrad + 2 * a.nesterov + 4 * a.use_bias))
"""


def test_flags_choices_and_lists_of_a_script_are_written_as_it_takes_them(hpo: CommandLine) -> None:
    (hpo.folder / "train.py").write_text(OPTIONS)
    hpo("init", "--objective", "train.py", "--metric", "loss")
    study = written(hpo)
    words = ["--epochs={epochs}", "--log-lr={log_lr}", "--width={width}", "--loss={loss}", "{args}"]
    assert study["objective"] == ["python", "train.py", *words]
    assert study["fixed"] == {"epochs": 10}
    flag = {"choice": [True, False]}
    assert study["space"] == {
        "log_lr": {"low": 1e-5, "high": 0.1, "log": True},
        "width": {"low": 1, "high": 100, "log": True},
        "layers": {"choice": [[64, 32]]},
        "use_bias": flag,
        "nesterov": flag,
        "amsgrad": flag,
        "loss": {"choice": ["l1", "l2"]},
    }
    patterns = {"layers": "--layers { }", "use_bias": "--use-bias", "amsgrad": "--amsgrad/--no-amsgrad"}
    assert study["arguments"] == patterns
    file = hpo.folder / "study.toml"
    text = file.read_text().replace('"python"', json.dumps(sys.executable)).replace("# [reports]", "[reports]")
    file.write_text(text.replace("# pattern", "pattern"))
    assert hpo("run", "study.toml", *QUICK, "--trials", "6", "--json").json["trials"]["complete"] == 6


def test_a_script_of_which_nothing_can_be_read_gets_all_parameters(hpo: CommandLine) -> None:
    for text in ("", "print 'python 2'", "a\0b"):
        (hpo.folder / "train.py").write_text(text)
        (hpo.folder / "study.toml").unlink(missing_ok=True)
        hpo("init", "--objective", "train.py", "--metric", "loss")
        assert written(hpo)["objective"] == ["python", "train.py", "{args}"]


def test_a_notebook_is_told_how_to_search(hpo: CommandLine) -> None:
    cells = [{"cell_type": "markdown", "source": ["# hi"]}, {"cell_type": "code", "source": ["%%time\n", FUNCTION]}]
    (hpo.folder / "my work.ipynb").write_text(json.dumps({"cells": cells}))
    ended = hpo("init", "--objective", "my work.ipynb", "--metric", "loss")
    assert ended.out.endswith('then in the notebook: hpo.run("study.toml")\n')
    assert 'result = hpo.run("study.toml")\n' in (hpo.folder / "study.toml").read_text()
    study = written(hpo)
    assert (study["name"], study["objective"]) == ("my-work", "__main__:objective")
    assert list(study["space"]) == ["lr", "weight_decay", "hidden_size"]


def test_a_program_in_another_language_gets_all_parameters(hpo: CommandLine) -> None:
    (hpo.folder / "train.pl").write_text("#!/usr/bin/perl\n")
    hpo("init", "--objective", "train.pl", "--metric", "loss")
    assert written(hpo)["objective"] == ["./train.pl", "{args}"]


def test_it_never_overwrites(hpo: CommandLine) -> None:
    (hpo.folder / "study.toml").write_text("mine")
    ended = hpo("init", "--objective", "a:b", "--metric", "loss", code=2)
    assert ended.err == ("hpo: init: study.toml exists, and is left as it is; name another file: hpo init OTHER.toml\n")
    assert (hpo.folder / "study.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "init: --objective must be given where there is no terminal to ask on"),
        (["--objective", "a:b"], "init: --metric must be given where there is no terminal to ask on"),
        (
            ["--objective", "no.py", "--metric", "m"],
            "init: --objective: no.py cannot be read: No such file or directory",
        ),
        (["--objective", "a b:c", "--metric", "m"], 'study.toml: objective: must be "package.module:name", or a'),
        (["--objective", "x.ipynb", "--metric", "m"], "init: x.ipynb is no notebook"),
        (["no/x.toml", "--objective", "a:b", "--metric", "m"], "init: no/x.toml cannot be written: No such file"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(
    words: list[str], said: str, hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hpo.folder / "x.ipynb").write_text("{}")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ended = hpo("init", *words, code=2)
    assert ended.err.startswith(f"hpo: {said}")
    assert ended.err.count("\n") == 1
    assert not (hpo.folder / "study.toml").exists()


def test_on_a_terminal_it_asks(hpo: CommandLine) -> None:
    master, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "init"], cwd=hpo.folder, stdin=end, stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    os.write(master, b"small_objectives:curve\nloss\n")
    shown = drain(master)
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    assert b"Objective (" in shown
    assert b"Metric to optimize" in shown
    assert out.startswith("study.toml: minimize loss; ")
    assert written(hpo)["objective"] == "small_objectives:curve"
    assert list(written(hpo)["space"]) == ["lr"]
