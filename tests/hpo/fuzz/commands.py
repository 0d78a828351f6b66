"""Hostile commands by the hundred: scripts composed of deeds, printed texts and ends.

What must become of one is part of it: a script that is only untidy is complete, with the value that it printed last; of
one that is broken only its end is certain.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# What a program may do to its process and its host without losing what it has printed.
UNTIDY = [
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)]",
    "signal.signal(signal.SIGTERM, lambda *a: [report(9.0) for _ in range(10_000)])",
    "os.fork() or (time.sleep(60), os._exit(0))",
    "os.fork() or (os.setsid(), os.fork(), time.sleep(61), os._exit(0))",
    "subprocess.Popen(['sleep', '62'])",
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "os.chdir('/')",
    "os.umask(0o777)",
    "os.getsid(0) == os.getpid() or os.setpgid(0, 0)",
    "os.close(0)",
    "os.close(2)",
]
# Texts between two reports; none of them is a report.
NOISE = [
    "say('epoch 1\\r' * 100 + '\\n')",
    "say('x' * 5_000_000 + '\\n')",
    "say('y\\n' * 200_000)",
    "say('{\"loss\": \\n')",
    "say('[1, 2]\\n\"loss\"\\n7\\nnull\\n')",
    "os.write(1, bytes(range(256)) * 1000 + b'\\n')",
    "warn('{\"loss\": 7}\\n' * 10)",
    "say('\\x1b]52;c;AAAA\\x07\\x1b[2J\\0\\n')",
]
ODD_REPORTS = [
    "say('{\"loss\": NaN}\\n')",
    "say('{\"loss\": -1e999}\\n')",
    'say(\'{"loss": "0.25"}\\n\')',
    'say(\'{"loss": {"a": 1}, "loss": [1]}\\n\')',
    "say('{' * 10_000 + '\\n')",
    "say('{\"loss\": ' + '9' * 10_000 + '}\\n')",
    "say('{\"loss\": 1, \"' + 'x' * 100_000 + '\": 1}\\n')",
]
GOOD_ENDS = ["pass", "sys.exit(0)", "os._exit(0)", "say('half a li')"]
BAD_ENDS = [
    "sys.exit(3)",
    "raise ValueError('\\udce9 out of luck')",
    "os.abort()",
    "os.kill(os.getpid(), signal.SIGKILL)",
    "os.kill(os.getpid(), signal.SIGSTOP)",
    "os.kill(os.getppid(), signal.SIGKILL)",
    "os.killpg(0, signal.SIGTERM)",
    "os.closerange(0, 10); time.sleep(60)",
    "time.sleep(60)",
    "[report(9.0) for _ in iter(int, 1)]",
    "[os.write(1, b'z' * 100_000) for _ in iter(int, 1)]",
    "os.execvp('sleep', ['sleep', '60'])",
    "ctypes.string_at(0)",
    "os.rmdir(os.getcwd())",
]
HEAD = """import ctypes, json, os, signal, subprocess, sys, threading, time


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def report(loss):
    say(json.dumps({"loss": loss, "other": 1}) + "\\n")


def warn(text):
    try:
        os.write(2, text.encode())
    except OSError:  # it has closed its own
        pass


n, kind = sys.argv[1:]
if kind == "good":
    for step in range(1, 4):
        report(int(n) + step / 4)
    sys.exit()
"""


@dataclass(frozen=True)
class Command:
    """One hostile script; its attributes are those of :class:`programs.Program`."""

    text: str
    value: float | None
    violent: bool = False


def command(seed: int) -> Command:
    """The same for the same seed."""
    dice = random.Random(seed)
    odd, broken = dice.random() < 0.3, dice.random() < 0.4
    body = dice.choices(UNTIDY, k=dice.choice([0, 1, 1, 2])) + dice.choices(NOISE, k=dice.choice([0, 1, 1, 2]))
    body += dice.choices(ODD_REPORTS, k=2 * odd)
    dice.shuffle(body)
    body.insert(dice.randint(0, len(body)), "report(0.5)")
    body += ["report(0.25)", dice.choice(BAD_ENDS if broken else GOOD_ENDS)]
    return Command("\n".join(body), None if odd or broken else 0.25)


def script(commands: dict[int, Command]) -> str:
    """The source of a script that does what its first argument, a number, says."""
    return HEAD + f"exec({ {number: command.text for number, command in commands.items()}!r}[int(n)])\n"
