"""Programs as objectives: what they print, how they fail, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import InputError
from hpo.objective import contract
from hpo.objective.contract import Objective, check, reports
from hpo.study.command import Command

pytestmark = pytest.mark.processes

SHELL = "/bin/sh"
PARAMS = {"lr": 0.5, "name": "two words", "hidden": [10, 10], "flag": True}


def resolve(words: Sequence[str]) -> Objective:
    return contract.resolve(Command(tuple(words)))


def run(*words: str, params: dict[str, Any] = PARAMS, seed: int = 7) -> list[dict[str, float]]:
    return list(reports(resolve(words), params, seed, "loss"))


def shell(script: str, **kwargs: Any) -> list[dict[str, float]]:
    return run(SHELL, "-c", script.replace("{", "{{").replace("}", "}}"), **kwargs)


def python(script: str, **kwargs: Any) -> list[dict[str, float]]:
    return run(sys.executable, "-c", script.replace("{", "{{").replace("}", "}}"), **kwargs)


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as raised:
        resolve(words)
    return str(raised.value)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def numbers(file: Path, count: int) -> list[int]:
    """The process numbers in a file, once there are ``count`` whole lines."""
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= count)
    return [int(line) for line in file.read_text().split()]


# Reports -----------------------------------------------------------------------------------------------------------


def test_json_lines_are_reports_and_other_lines_are_output() -> None:
    assert shell("""
        echo 'epoch 1'; echo '{"loss": 1, "acc": 0.5}'; echo; echo '[1, 2]'; echo '{"loss": 0.5'; echo ' {"loss": 9}'
        echo '{"loss": 0.25}'
    """) == [{"loss": 1.0, "acc": 0.5}, {"loss": 0.25}]


def test_a_report_arrives_while_the_program_goes_on(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    running = reports(
        resolve((SHELL, "-c", f"echo '{{{{\"loss\": 1}}}}'; while [ ! -e '{go_on}' ]; do sleep 0.01; done")),
        {},
        0,
        "loss",
    )
    assert next(running) == {"loss": 1.0}
    go_on.touch()
    assert list(running) == []


@pytest.mark.parametrize(
    "script",
    [
        "exec >&- 2>&-; {wait}",  # it has closed both outputs
        "while [ ! -e go-on ]; do printf .; sleep 0.01; done",  # and one that ends no line
    ],
)
def test_a_file_is_read_whatever_the_program_prints(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = script.format(wait="while [ ! -e go-on ]; do sleep 0.01; done")
    words = (SHELL, "-c", f"printf 'loss\\n2\\n1\\n' > m.csv; {script}")
    command = Command(words, metrics=("loss",), source="csv", where="m.csv")
    running = reports(contract.resolve(command), {}, 0, "loss")
    assert next(running) == {"loss": 2.0}
    (tmp_path / "go-on").touch()
    assert list(running) == [{"loss": 1.0}]


def test_a_python_program_that_never_flushes_reports_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    script = "import os, time\nprint('{{\"loss\": 1}}')\nwhile not os.path.exists('go-on'): time.sleep(0.01)"
    running = reports(resolve((sys.executable, "-c", script)), {}, 0, "loss")
    assert next(running) == {"loss": 1.0}
    (tmp_path / "go-on").touch()
    assert list(running) == []


def test_a_program_that_prints_nothing_has_no_report() -> None:
    assert shell("echo warning >&2") == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo done; echo warning >&2", "1 line of output, none of them JSON; the last one: done"),
        ("seq 1 8", "8 lines of output, none of them JSON; the last one: 8"),
        (
            "echo \"{'loss': 0.5}\"; echo bye",
            "2 lines of output, none of them JSON; the last one: {'loss': 0.5}; "
            "JSON needs double quotes and decimal points",
        ),
        ("printf 'a\\033]52;c;b\\007'", r"1 line of output, none of them JSON; the last one: a\x1b]52;c;b\x07"),
    ],
)
def test_output_without_a_report_fails_the_trial_and_shows_a_line(script: str, message: str) -> None:
    with pytest.raises(RuntimeError) as raised:
        shell(script)
    assert str(raised.value) == message


def test_a_report_needs_no_line_break_at_the_end() -> None:
    assert shell("printf '{\"loss\": 1}'") == [{"loss": 1.0}]


def test_a_line_without_an_end_takes_no_memory() -> None:
    script = (
        "import sys\nfor out in (sys.stdout, sys.stderr):\n for i in range(400): out.write('x' * 2**20)\n"
        "sys.stdout.write('\\n{\"loss\": 1}\\n')"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert python(script) == [{"loss": 1.0}]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_long_line_of_an_error_is_cut() -> None:
    with pytest.raises(RuntimeError) as raised:
        python("import sys; sys.stderr.write('x' * 10_000_000); sys.exit(1)")
    assert len(str(raised.value)) < 3000


def test_numbers_that_json_does_not_know_are_read_as_python_writes_them() -> None:
    (report,) = shell('echo \'{"loss": NaN, "acc": -Infinity}\'')
    assert report["loss"] != report["loss"]
    assert report["acc"] == -float("inf")


def test_a_report_that_is_no_mapping_of_numbers_fails_the_trial() -> None:
    with pytest.raises(TypeError, match="a report must be a mapping of metric names to numbers, got 'level': 'info'"):
        shell('echo \'{"level": "info"}\'')


def test_output_that_is_no_text_is_no_error() -> None:
    assert shell(r"printf '\377\376\n'; echo '{" '"loss": 1' "}'") == [{"loss": 1.0}]


def test_deeply_nested_output_is_ordinary_output() -> None:
    assert python("print('{\"a\":' * 100_000); print('{\"loss\": 1}')") == [{"loss": 1.0}]


# What the program gets ---------------------------------------------------------------------------------------------


def told(*words: str, tmp_path: Path) -> list[Any]:
    """What a program got: its words, and the two variables."""
    out = tmp_path / "told"
    script = f"import json, os, sys; open({str(out)!r}, 'w').write(json.dumps([sys.argv[1:], "
    script += "os.environ['HPO_PARAMS'], os.environ['HPO_SEED']]))"
    run(sys.executable, "-c", script, *words)
    got: list[Any] = json.loads(out.read_text())
    return got


def test_braces_are_filled_with_parameters_and_the_seed(tmp_path: Path) -> None:
    words, params, seed = told(
        "--lr={lr}",
        "--name={name}",
        "{hidden}",
        "{flag}",
        "{seed}{seed}",
        "plain",
        "{{lr}}",
        "%{lr}%",
        tmp_path=tmp_path,
    )
    assert words == ["--lr=0.5", "--name=two words", "[10, 10]", "true", "77", "plain", "{lr}", "%0.5%"]
    assert json.loads(params) == PARAMS
    assert seed == "7"


def test_a_number_keeps_every_digit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for value in (0.1 + 0.2, 1e-300, 1e22, 2**53):
        run(sys.executable, "-c", f"import sys; open({str(out)!r}, 'w').write(sys.argv[1])", "{x}", params={"x": value})
        assert float(out.read_text()) == value


def test_a_parameter_may_have_dots_and_spaces_in_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import sys; open({str(out)!r}, 'w').write(sys.argv[1])"
    run(sys.executable, "-c", script, "{optimizer.beta 1}", params={"optimizer.beta 1": 3})
    assert out.read_text() == "3"


def test_values_are_never_read_by_a_shell(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=f"the last one: ; touch {tmp_path}/owned$"):
        run("/bin/echo", "{x}", params={"x": f"; touch {tmp_path}/owned"})
    assert list(tmp_path.iterdir()) == []


# What is refused ---------------------------------------------------------------------------------------------------


def test_a_missing_program_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal("no-such-program") == (
        "objective: there is no program 'no-such-program' on the PATH; write ./ in front of one in the working folder"
    )
    assert refusal("./no-such-program") == "objective: there is no program './no-such-program'"
    (tmp_path / "train").write_text("#!/bin/sh\n")
    assert refusal("./train") == (
        "objective: './train' is not executable: `chmod +x` it, or put its interpreter in front"
    )
    (tmp_path / "train").chmod(0o755)
    assert refusal("train") == (
        "objective: there is no program 'train' on the PATH, but one in the working folder: write './train'"
    )
    resolve(("./train",))


@pytest.mark.parametrize("word", ["{", "}", "{lr", "lr}", "{{lr}"])
def test_an_open_brace_is_told_how_to_be_literal(word: str) -> None:
    said = refusal(SHELL, word)
    assert said.startswith(f"objective: {word!r}: ")
    assert said.endswith("; write {{ and }} for literal braces")


@pytest.mark.parametrize("word", ["{}", "{lr:.3f}", "{lr!r}", '{"a": 1}'])
def test_braces_hold_a_name_alone(word: str) -> None:
    assert refusal(SHELL, word) == (
        "objective: braces must hold a parameter's name and nothing else (write {{ and }} for literal braces), "
        f"got {word!r}"
    )


def test_a_name_that_is_no_parameter_is_found_before_any_trial() -> None:
    objective = resolve((SHELL, "--lr={lrr}", "--seed={seed}"))
    with pytest.raises(InputError) as raised:
        check(objective, [{"lr": 0.5, "decay": 0.1}])
    assert str(raised.value) == (
        "objective: the command names {lrr}, which is not among a trial's parameters; did you mean 'lr'?"
    )
    check(resolve((SHELL, "{lr}", "{seed}")), [{"lr": 0.5}])


# Failures ----------------------------------------------------------------------------------------------------------


def test_an_exit_code_fails_the_trial_with_what_was_said_last() -> None:
    with pytest.raises(RuntimeError) as raised:
        shell("echo '{\"loss\": 1}'; seq 1 100 >&2; echo 'out of luck' >&2; exit 3")
    lines = str(raised.value).splitlines()
    assert lines[0] == "the command ended with exit code 3"
    assert lines[1:] == [str(n) for n in range(52, 101)] + ["out of luck"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/nowhere/sh\n", r"No such file or directory \(it, its interpreter after #!, or its folder\)"),
        ("echo no interpreter\n", "Exec format error"),
    ],
)
def test_a_program_that_cannot_be_started_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "train").write_text(text)
    (tmp_path / "train").chmod(0o755)
    with pytest.raises(RuntimeError, match=f"^'{tmp_path}/train' cannot be started: {why}$"):
        run(f"{tmp_path}/train")


def test_a_program_that_was_killed_says_by_which_signal() -> None:
    with pytest.raises(RuntimeError, match=r"^the command was ended by signal 9$"):
        shell("kill -9 $$")


def test_a_program_that_fails_silently_fails_with_its_code() -> None:
    with pytest.raises(RuntimeError, match=r"^the command ended with exit code 1$"):
        shell("exit 1")


def test_reports_before_a_failure_are_heard() -> None:
    running = reports(resolve((SHELL, "-c", "echo '{{\"loss\": 1}}'; exit 1")), {}, 0, "loss")
    assert next(running) == {"loss": 1.0}
    with pytest.raises(RuntimeError, match="exit code 1"):
        next(running)


def test_a_lot_of_output_on_both_channels_blocks_nothing() -> None:
    script = (
        "import sys\nfor i in range(3000): print('x' * 100); print('y' * 100, file=sys.stderr)\nprint('{\"loss\": 1}')"
    )
    assert python(script) == [{"loss": 1.0}]


# The end -----------------------------------------------------------------------------------------------------------

FAMILY = """
    echo $$ >> pids; sleep 600 & echo $! >> pids
    (trap '' TERM; echo '' > ignoring; while :; do sleep 1; done) & echo $! >> pids
    while [ ! -e ignoring ]; do sleep 0.01; done
    echo '{{"loss": 1}}'
"""


@pytest.mark.parametrize("end", ["wait", "exec sleep 600", "trap '' TERM; while :; do sleep 1; done"])
def test_a_stopped_trial_leaves_no_process_behind(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command((SHELL, "-c", FAMILY + end), grace=0.3)
    running = reports(contract.resolve(command), {}, 0, "loss")
    assert next(running) == {"loss": 1.0}
    family = numbers(tmp_path / "pids", 3)
    assert all(map(alive, family))
    running.close()
    wait_until(lambda: not any(map(alive, family)))


def test_a_program_that_ends_leaves_no_child_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell("sleep 600 >/dev/null 2>&1 & echo $! > pids; echo '{\"loss\": 1}'") == [{"loss": 1.0}]
    (child,) = numbers(tmp_path / "pids", 1)
    wait_until(lambda: not alive(child))


@pytest.mark.parametrize("held", ["", *(pytest.param(held, marks=pytest.mark.slow) for held in (">&2", ">/dev/null"))])
def test_a_child_that_holds_the_output_does_not_keep_the_trial_alive(held: str, tmp_path: Path) -> None:
    began = time.monotonic()
    assert shell(f"sleep 60 {held} & echo $! > {tmp_path}/pids; echo '{{\"loss\": 1}}'") == [{"loss": 1.0}]
    assert time.monotonic() - began < 20
    (child,) = numbers(tmp_path / "pids", 1)
    wait_until(lambda: not alive(child))


def test_a_child_that_never_stops_printing_does_not_keep_the_trial_alive(tmp_path: Path) -> None:
    assert shell("yes & echo '{\"loss\": 1}'") == [{"loss": 1.0}]


@pytest.mark.parametrize(
    "ending", ["exit 0", *(pytest.param(end, marks=pytest.mark.slow) for end in ("exit 1", "wait"))]
)
def test_a_child_of_another_session_ends_with_the_trial(ending: str, tmp_path: Path) -> None:
    words = (SHELL, "-c", f"setsid sh -c 'echo $$ >> {tmp_path}/pids; trap \"\" TERM; sleep 600; sleep 600' & "
             f"while [ ! -s {tmp_path}/pids ]; do sleep 0.01; done; echo '{{{{\"loss\": 1}}}}'; {ending}")  # fmt: skip
    running = reports(resolve(words), {}, 0, "loss")
    assert next(running) == {"loss": 1.0}
    (child,) = numbers(tmp_path / "pids", 1)
    if ending == "wait":
        assert alive(child)
        running.close()
    else:
        with suppress(RuntimeError):
            list(running)
    wait_until(lambda: not alive(child))


def test_a_stopped_program_may_clean_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = "trap 'sleep 0.1; echo saved > state; exit 0' TERM; echo '{{\"loss\": 1}}'; while :; do sleep 0.01; done"
    running = reports(resolve((SHELL, "-c", script)), {}, 0, "loss")
    next(running)
    running.close()
    assert (tmp_path / "state").read_text() == "saved\n"


def test_a_child_may_clean_up_after_its_parent_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    child = 'trap "sleep 0.2; echo saved > state; exit 0" TERM; echo ready > ready; while :; do sleep 0.01; done'
    script = f"sh -c '{child}' & while [ ! -e ready ]; do sleep 0.01; done; echo '{{{{\"loss\": 1}}}}'; wait"
    running = reports(resolve((SHELL, "-c", script)), {}, 0, "loss")
    next(running)
    running.close()
    assert (tmp_path / "state").read_text() == "saved\n"


def test_a_killed_worker_takes_its_program_with_it(tmp_path: Path) -> None:
    worker = (
        "import time; from hpo.objective.contract import reports, resolve; from hpo.study.command import Command\n"
        "script = 'echo $$ > pids; sleep 600 & echo $! >> pids; setsid sleep 600 & echo $! >> pids; '\n"
        "words = ('/bin/sh', '-c', script + \"echo '{{\\\"loss\\\": 1}}'; wait\")\n"
        "running = reports(resolve(Command(words)), {}, 0, 'loss'); next(running)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", worker], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        family = numbers(tmp_path / "pids", 3)
        assert all(map(alive, family))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    wait_until(lambda: not any(map(alive, family)))


@pytest.mark.parametrize("where", ["--seed={seed}", "{seed}"])
def test_a_parameter_named_seed_makes_the_seed_of_a_command_ambiguous(where: str) -> None:
    objective = resolve((SHELL, where))

    with pytest.raises(InputError, match=r"\{seed\}, which hpo fills in, but the study has a parameter 'seed' too"):
        check(objective, [{"seed": 42}])
    check(objective, [{"lr": 0.5}])
    check(resolve((SHELL, "{lr}")), [{"lr": 0.5, "seed": 42}])  # the seed of HPO_PARAMS is the parameter's
