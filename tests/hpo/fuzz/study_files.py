"""Study files and ``--set`` texts by the thousand: good ones from a grammar, and ones that are damaged."""

from __future__ import annotations

import copy
import datetime
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What stands in the folder of every study.
OBJECTIVES = """
def steps(params, seed):
    for step in range(3):
        yield {"loss": seed % 7 + step, "acc": 0.5}


def number(params, seed):
    return 0.5


def failing(params, seed):
    raise RuntimeError("out of luck")
"""
# Names collide on purpose: with each other, with a finished study of the ledger, and with what hpo calls its own.
NAMES = ["kept", "a", "b", "seed", "trial", "loss", "optimizer.lr", "größe", "a/b", "lr", "ünï 標", "hpo.uid", "_"]
OBJECTIVE_NAMES: list[Any] = [
    *["small:steps", "small:number", "small:failing", "small:nothing", "nowhere:f", "json:loads", "builtins:print"],
    *[["true"], ["sh", "-c", "echo 1"], ["./absent", "{lr}"], ["echo", "{args}"], ["echo", "{", "{seed}"], []],
]
SAMPLERS = ["random", "grid", "qmc", "tpe", "listed", "narrowing", "cmaes", "gp", "json:loads", "a:b", "Random"]
PRUNERS = ["none", "median", "asha", "hyperband", "patience", "threshold", "math:inf", ""]
NUMBERS: list[Any] = [
    *[0, 1, -1, 2, 3, 10, 2**31, 2**53 + 1, 10**30, 10**400, -(2**63)],
    *[0.0, -0.0, 0.1, 0.3, 1.0, 1e-300, 5e-324, 1e-30, 1e30, 1.7e308, -1.7e308, float("inf"), float("nan")],
]
TEXTS = [
    "",
    "a",
    "1h",
    "90s",
    "-1s",
    "1e5",
    "true",
    "\x1b]52;c;AA\x07",
    "\ud800",
    "x" * 3000,
    "{lr}",
    "../up",
    "~",
    "$HOME",
]
KEYS = str.split("""
    name objective metric direction evaluate model examples fixed space sampler pruner enqueue budget trial
    workers figure low high log step choice when seed points repeats round keep widen batch trials time worker_time
    target retries no_improvement timeout stop_after_failures cpus gpus memory resources kind title x y series lr
""")
# What people set, and hpo takes.
GOOD = str.split("""
    budget.trials=2 budget.time=1h sampler.name=random sampler.seed=3 name=b fixed.f0=2 fixed.new=adam fixed.new=-1e-3
    trial.retries=0 trial.timeout=90s workers.cpus=0.5 pruner.name=median direction=maximize space.new.choice=[1,2]
    space.new={low=0.1,high=0.9} fixed.'a.b'=[1,{c=2}] sampler={name="tpe"} fixed.f1=false budget.target=0.5
""")
# What people type after an equals sign, and worse.
TYPED = str.split(
    """
    1 0.5 .5 1. 1e-3 1e400 -0 +3 007 0x10 1_000 true True FALSE yes None null nan -inf 1h30m 2026-01-01 07:32:00 []
    [1,2] [1,[2]] {} {a=1} {low=0,high=1} "a" 'a' a,b adam a=b == # \\ " ' \u200b \ud800 [[a]] 1\n2,x\ny=3
""",
    " ",  # lines' ends too
)


def tree(dice: random.Random, depth: int = 3) -> Any:
    """Any value that TOML can write."""
    kinds: list[Callable[[], Any]] = [
        lambda: dice.choice(NUMBERS),
        lambda: dice.choice(TEXTS),
        lambda: dice.choice([True, False]),
        lambda: dice.choice([datetime.date(2026, 1, 1), datetime.time(7, 32), datetime.datetime(1, 1, 1)]),
        lambda: [tree(dice, depth - 1) for _ in range(dice.randrange(4))],
        lambda: {key(dice): tree(dice, depth - 1) for _ in range(dice.randrange(4))},
    ]
    return dice.choice(kinds if depth else kinds[:4])()


def key(dice: random.Random) -> str:
    return dice.choice(KEYS if dice.random() < 0.8 else [*NAMES, *TEXTS])


def study(dice: random.Random) -> dict[str, Any]:
    """A study of the usual shape; most are valid."""
    space = {dice.choice(NAMES): _parameter(dice) for _ in range(dice.randint(1, 4))}
    found: dict[str, Any] = {
        "name": dice.choice(["kept", "a", *(f"s{dice.randrange(10**6)}" for _ in range(8))]),
        "objective": dice.choice(OBJECTIVE_NAMES if dice.random() < 0.3 else OBJECTIVE_NAMES[:2]),
        "metric": dice.choice(["loss", "loss", "acc"]),
        "direction": dice.choice(["minimize", "maximize"]),
        "space": space,
        "budget": dice.choice([{"trials": dice.randint(1, 5)}, {"trials": 3, "time": "1h"}, {"time": 0.5}]),
    }
    optional: dict[str, Callable[[], Any]] = {
        "fixed": lambda: {f"f{at}": dice.choice([1, 0.5, True, "a", [1, [2]], {"k": 1}, 1e300]) for at in range(3)},
        "sampler": lambda: {"name": dice.choice([*SAMPLERS[:4], *SAMPLERS]), "seed": dice.choice([0, 1, 2**32 - 1])},
        "pruner": lambda: {"name": dice.choice(PRUNERS[:3] + PRUNERS)},
        "enqueue": lambda: [{name: dice.choice(NUMBERS) for name in dice.sample(sorted(space), 1)}],
        "trial": lambda: {"timeout": dice.choice(["5s", 1]), "retries": dice.randrange(3)},
        "workers": lambda: {"cpus": dice.choice([0.5, 1, 1e6, 1e-9])},
        "figure": lambda: [
            {"kind": dice.choice(["curves", "sweep", "json:loads"]), "title": "t", "x": "lr", "y": "loss"}
        ],
        "examples": lambda: dice.choice([569, 569, 0]),
        "evaluate": lambda: dice.choice(OBJECTIVE_NAMES),
    }
    for name in dice.sample(sorted(optional), dice.randrange(4)):
        found[name] = optional[name]()
    return found


def _parameter(dice: random.Random) -> dict[str, Any]:
    if dice.random() < 0.4:
        return {"choice": dice.sample([1, 1.0, True, "a", [16], [1.0], {"k": 2}, 0.1, "ünï"], dice.randint(1, 3))}
    ends: list[float] = (
        [dice.choice(NUMBERS), dice.choice(NUMBERS)] if dice.random() < 0.15 else dice.choice([[0.1, 1.0], [1, 9]])
    )
    found: dict[str, Any] = {"low": min(ends), "high": max(ends)}
    if dice.random() < 0.4:
        found |= dice.choice([{"log": True}, {"log": True}, {"step": 0.1}, {"step": 1}, {"step": 1e-30}])
    if dice.random() < 0.1:
        found["when"] = {dice.choice(NAMES): dice.choice([1, 0.1, [1, True], "a"])}
    return found


def damage(dice: random.Random, raw: dict[str, Any]) -> None:
    """Replaces, adds, renames or drops a few values, at any depth."""
    for _ in range(dice.randint(1, 3)):
        where: Any = raw
        while where and dice.random() < 0.7:
            inner = [
                value
                for value in (where.values() if isinstance(where, dict) else where)
                if isinstance(value, dict | list)
            ]
            if not inner:
                break
            where = dice.choice(inner)
        if isinstance(where, list):
            where.append(tree(dice))
        elif not where or dice.random() < 0.3:
            where[key(dice)] = tree(dice)
        elif dice.random() < 0.3:
            del where[dice.choice(sorted(where))]
        else:
            name = dice.choice(sorted(where))
            where[name if dice.random() < 0.7 else key(dice)] = tree(dice)


def written(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {written(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float | int):
        return str(value) if isinstance(value, float) or abs(value) < 10**300 else "1" + "0" * 5000
    return str(value.isoformat())


def damaged_text(dice: random.Random, text: bytes) -> bytes:
    """A file that an editor, a disk or a person has spoilt."""
    at, to = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    lines = text.split(b"\n")
    spoilt: list[Callable[[], bytes]] = [
        lambda: text[:at],
        lambda: text[:at] + text[to:],
        lambda: text[:to] + text[at:],
        lambda: (
            text[:at] + dice.choice([b"\0", b"\xff", b"\xed\xb2\x80", b'"', b"[", b"}", b"=", b"#", b"\r"]) + text[at:]
        ),
        lambda: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
        lambda: text.decode("utf-8", "replace").encode("utf-16"),
        lambda: b"\n".join(dice.sample(lines, len(lines))),
        lambda: b"\n".join([*lines, dice.choice(lines)]),
        lambda: text + b"[" * 5000,
    ]
    return dice.choice(spoilt)()


def override(dice: random.Random) -> str:
    """What stands behind ``--set``."""
    if dice.random() < 0.05:
        return dice.choice(["", "=", "a", "=1", ".=1", "a..b=1", '"=1', "\ud800=1", "[a]=1", "a=1=2", " = "])
    if dice.random() < 0.8:
        return dice.choice(GOOD)
    path = [key(dice) for _ in range(dice.choice([1, 2, 2, 3]))]
    value = dice.choice(TYPED) if dice.random() < 0.7 else written(tree(dice, 1))
    return ".".join(path) + "=" + value


@dataclass(frozen=True)
class Case:
    """A study file and the texts of its ``--set`` options."""

    content: bytes
    overrides: tuple[str, ...]


def case(seed: int) -> Case:
    """The same for the same seed."""
    dice = random.Random(seed)
    raw = study(dice)
    if dice.random() < 0.25:
        raw = copy.deepcopy(raw)
        damage(dice, raw)
    text = "".join(f"{json.dumps(name)} = {written(value)}\n" for name, value in raw.items())
    content = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        content = damaged_text(dice, content)
    # No program can be given a text with a zero in it.
    return Case(content, tuple(override(dice).replace("\0", "") for _ in range(dice.choice([0, 0, 1, 1, 2]))))
