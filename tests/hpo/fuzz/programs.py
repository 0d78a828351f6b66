"""Hostile objectives by the hundred: programs composed of deeds, places for them, reports and ends.

A program does a few deeds (before it reports, between two reports, while it is closed, in a thread, in a child of its
own), reports a few values, and ends in some way. What must become of it is part of it: a program that is only untidy is
complete, with the value that it reported last; of one that is broken only its end is certain.
"""

from __future__ import annotations

import random
import textwrap
from dataclasses import dataclass

# What a script may do to its process, and a guest to its host.
UNTIDY = {
    "chdir": "os.chdir('/')",
    "umask": "os.umask(0o777)",
    "environment": "os.environ.clear(); os.environ.update(HOME='/nowhere', TMPDIR='/nowhere', RAY_ADDRESS='1.2.3.4:5')",
    "numpy": "np.seterr(all='raise'); np.random.seed(0)",
    "warnings": "warnings.simplefilter('error')",
    "random": "random.seed(0)",
    "decimal": "decimal.getcontext().prec = 1",
    "signals": "[signal.signal(getattr(signal, f'SIG{s}'), signal.SIG_IGN) for s in ('INT', 'TERM', 'CHLD', 'PIPE')]",
    "alarm": "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.alarm(1)",
    "mask": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "print": "print('\\x1b]52;c;AAAA\\x07\\x1b[2J', '\\x00', 'x' * 100_000); print('{\"loss\": 7}', file=sys.stderr)",
    "bytes": "os.write(1, bytes(range(256)) * 100)",
    "streams": "sys.stdout = sys.stderr = None",
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "descriptors": "os.close(0); os.close(1); os.close(2)",
    "logging": "logging.basicConfig(level=0, force=True); logging.getLogger().error('\\udce9')",
    "recursion": "sys.setrecursionlimit(10_000)",
    "collector": "gc.disable(); gc.set_threshold(0)",
    "trace": "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "path": "sys.path.clear(); sys.argv.clear(); sys.path_importer_cache.clear()",
    "parameters": "params.clear(); params.update(n=-1, loss='nan')",
    "exit handler": "atexit.register(lambda: os._exit(3))",
    "mutiny": "multiprocessing.set_start_method('fork', force=True)",
    "locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "clock": "time.time = lambda: 0.0",
    "nice": "os.nice(1)",
    "threads": "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(20)]",
    "stubborn thread": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "child": "subprocess.Popen(['/bin/sleep', '61'])",
    "own session": "subprocess.Popen(['/bin/sleep', '62'], start_new_session=True)",
    "files": "[open('/dev/null') for _ in range(200)]",
    "memory": "_KEPT.append(bytearray(20_000_000))",
    "event loop": "asyncio.run(asyncio.sleep(0)); asyncio.set_event_loop(asyncio.new_event_loop())",
}
# What nothing can be promised after, but an end.
VIOLENT = {
    "hooks": "sys.excepthook = sys.unraisablehook = None",
    "all descriptors": "os.closerange(0, 300)",
    "pickle": "pickle.dumps = pickle.loads = pickle.Pickler = None",
    "builtins": "builtins.isinstance = builtins.len = builtins.iter = None",
    "modules": "sys.modules.clear()",
    "file size": "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
    "open files": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "address space": "resource.setrlimit(resource.RLIMIT_AS, (1, 1))",
    "processor time": "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
    "fork that returns": "os.fork()",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "own group": "os.killpg(0, signal.SIGKILL)",
    "parent stopped": "os.kill(os.getppid(), signal.SIGSTOP)",
    "parent killed": "os.kill(os.getppid(), signal.SIGKILL)",
    "uncollected": "_KEPT.append(sys._getframe())",
    "other pipes": "[os.write(fd, b'\\xff' * 999) for fd in range(3, 20) if _is_pipe(fd)]",
}
# Where a deed may be done; {} is the deed.
PLACES = {
    "here": "{}",
    "in a thread": "t = threading.Thread(target=exec, args=({!r}, globals())); t.start(); t.join()",
    "in a child": "if not os.fork():\n    try:\n        {}\n    finally:\n        os._exit(0)\ntime.sleep(0.1)",
    "swallowed": "try:\n    {}\nexcept BaseException:\n    pass",
    "in a finalizer": "_Finalizer(lambda: exec({!r}, globals()))",
}
GOOD_REPORTS = [
    "{m: 0.25}",
    "0.25",
    "np.float32(0.25)",
    "np.array(0.25)",
    "fractions.Fraction(1, 4)",
    "{m: 0.25, 'other': np.int64(3)}",
]
ODD_REPORTS = [
    *[
        "None",
        "'0.25'",
        "b'1'",
        "[]",
        "(0.2, 0.8)",
        "{}",
        "{1: 2}",
        "{m: None}",
        "{m: '0.25'}",
        "{m: [1]}",
        "True",
        "{m: True}",
    ],
    *[
        "{m: math.nan}",
        "{m: -math.inf}",
        "{m: 1e308, 'a': -1.7e308}",
        "{m: 5e-324}",
        "{m: 10**400}",
        "{m: 1j}",
        "10**5000",
    ],
    *[
        "{m: 1.0, '\\udce9': 1.0}",
        "{m: 1.0, 'a/../b': 1.0}",
        "{m: 1.0, '\\x1b[2J\\n': 2.0}",
        "{m: 1.0, 'x' * 10_000: 1.0}",
        "{m: 1.0, '': 1}",
    ],
    *[
        "{m: 1.0} | {f'm{i}': float(i) for i in range(3_000)}",
        "_Liar(m=1.0)",
        "_Number(1.0)",
        "np.zeros(3)",
        "np.float64('nan')",
    ],
    *[
        "decimal.Decimal('0.25')",
        "{m: decimal.Decimal('0.25')}",
        "{m: np.zeros(())}",
        "objective",
        "object()",
        "iter([1.0])",
        "range(3)",
    ],
]
GOOD_ENDS = ["return", "pass", "return 7"]
BAD_ENDS = [
    *[
        "raise ValueError('out of luck')",
        "raise _Mute()",
        "raise KeyboardInterrupt",
        "raise SystemExit(0)",
        "sys.exit('bye')",
    ],
    *[
        "raise MemoryError",
        "raise GeneratorExit",
        "raise StopIteration",
        "raise BaseException('x' * 10_000_000)",
        "raise _Odd()",
    ],
    *[
        "raise ExceptionGroup('many', [ValueError(i) for i in range(500)])",
        "raise ValueError('\\udce9\\x1b]0;title\\x07\\n' * 100)",
    ],
    *[
        "(lambda f: f(f))(lambda f: f(f))",
        "json.loads('[' * 100_000)",
        "1 / 0",
        "assert False",
        "raise Exception from Exception('a')",
    ],
    *[
        "os._exit(0)",
        "os._exit(7)",
        "os.abort()",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "ctypes.string_at(0)",
        "os.execv('/bin/true', ['true'])",
    ],
    *[
        "time.sleep(60)",
        "while True: pass",
        "threading.Event().wait()",
        "signal.pause()",
        "_deep(10**6)",
        "[0] * 10**15",
    ],
    *[
        "input()",
        "open('/nowhere/at/all')",
        "breakpoint()",
        "import not_there",
        "raise OSError(28, 'No space left on device')",
    ],
]
# How what a program reports comes to hpo.
SHAPES = {
    "generator": "def {name}(params, seed, m='loss'):\n    if True:\n{inner}",
    "stubborn generator": "def {name}(params, seed, m='loss'):\n    try:\n{inner}\n    finally:\n        {last}",
    "inner generator": "def {name}(params, seed, m='loss'):\n    def inner():\n{inner}\n    return inner()",
    "delegating generator": "def {name}(params, seed, m='loss'):\n    def inner():\n{inner}\n    yield from inner()",
}
HEAD = """
import asyncio, atexit, builtins, ctypes, decimal, fractions, gc, json, locale, logging, math, multiprocessing, os
import pickle, random, resource, signal, stat, subprocess, sys, threading, time, warnings
import numpy as np

_KEPT = []


class _Finalizer:
    def __init__(self, deed):
        self.deed = deed

    def __del__(self):
        self.deed()


class _Liar(dict):
    def items(self):
        raise RuntimeError("no items")

    def __bool__(self):
        raise RuntimeError("neither true nor false")


class _Number(float):
    def __float__(self):
        raise OverflowError("too large")

    def __repr__(self):
        raise RuntimeError("no words")


class _Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class _Odd(Exception):
    def __init__(self):
        super().__init__(self, lambda: 0)

    def __reduce__(self):
        raise RuntimeError("not to be sent")


def _deep(depth):
    return depth and _deep(depth - 1) + 1


def _is_pipe(descriptor):
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def good(params, seed):
    for step in range(1, 4):
        yield {"loss": params["n"] + step / 4}


def objective(params, seed):
    return (good if params["kind"] == "good" else PROGRAMS[params["n"]])(params, seed)


"""


@dataclass(frozen=True)
class Program:
    """One hostile objective.

    Attributes:
        text: The source of a function ``p`` and its number.
        value: What it must be complete with; None where only its end is certain.
        violent: Whether trials that run later in the same process may fail too.
    """

    text: str
    value: float | None
    violent: bool


def program(seed: int) -> Program:
    """The same for the same seed."""
    dice = random.Random(seed)
    violent, odd, broken = (dice.random() < share for share in (0.15, 0.3, 0.35))
    deeds = dice.choices(list(UNTIDY.values()), k=dice.choice([1, 1, 1, 2, 3]))
    deeds += [dice.choice(list(VIOLENT.values()))] if violent else []
    body = [(dice.choice(list(PLACES.values())) if dice.random() < 0.5 else "{}").format(deed) for deed in deeds]
    body += [f"yield {dice.choice(GOOD_REPORTS)}" for _ in range(dice.randint(1, 3))]
    body += [f"yield {dice.choice(ODD_REPORTS)}"] if odd else []
    if dice.random() < 0.5:
        dice.shuffle(body)
    body.append(dice.choice(BAD_ENDS if broken else GOOD_ENDS))
    shape = dice.choice(list(SHAPES.values()))
    inner = textwrap.indent("\n".join(body), " " * 8)
    text = shape.format(name=f"p{seed}", inner=inner, last=dice.choice(BAD_ENDS[:6]))
    tidy = not (violent or odd or broken or "finally:\n        " in shape) and len(deeds) == 1
    return Program(text, 0.25 if tidy else None, violent)


def module(programs: dict[int, Program]) -> str:
    """The source of a module whose ``objective`` runs the program of its parameter ``n``."""
    table = ", ".join(f"{number}: p{number}" for number in programs)
    return HEAD + "\n\n\n".join(program.text for program in programs.values()) + f"\n\n\nPROGRAMS = {{{table}}}\n"


def importing(seed: int) -> str:
    """The source of a module that does a few deeds, and perhaps ends, when it is imported."""
    dice = random.Random(seed)
    violent = [deed for deed in VIOLENT.values() if "getppid" not in deed and "SIGSTOP" not in deed]
    deeds = dice.choices([*UNTIDY.values(), *violent], k=dice.choice([1, 2, 3]))
    places = [place for name, place in PLACES.items() if name != "in a finalizer"]
    body = [(dice.choice(places) if dice.random() < 0.5 else "{}").format(deed) for deed in deeds]
    body += [dice.choice(BAD_ENDS)] if dice.random() < 0.4 else []
    return HEAD + "params = {}\n" + "\n".join(body) + "\n"
