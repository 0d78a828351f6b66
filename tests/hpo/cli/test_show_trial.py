"""What went wrong, said at the end of a run; and everything about one trial."""

from __future__ import annotations

from command_line import CommandLine

from hpo.cli.trials import failures, plot
from hpo.ledger.address import parse
from hpo.text import error_line
from hpo.trial import RETRY_OF, State, Trial

MOODY = """
def objective(params, seed):
    yield {"loss": 2.0, "other": float("nan")}
    if params["lr"] > 0.1:
        raise KeyError("momentum")
    if params["lr"] > 0.01:
        raise ValueError(f"too large: {params['lr']}")
    yield {"loss": params["lr"]}
"""


def moody(hpo: CommandLine) -> CommandLine:
    (hpo.folder / "moody.py").write_text(MOODY)
    return hpo


OBJECTIVE = ("--set", "objective=moody:objective", "--trials", "12")


def test_a_run_ends_with_what_went_wrong(hpo: CommandLine) -> None:
    ended = moody(hpo).run(*OBJECTIVE)
    states = hpo("list", "--json").json[0]["trials"]
    assert states["failed"] > 1
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"hpo: {states['failed']} of 12 trials failed: ")
    keys = sum(error_line(t["error"]) == "KeyError: 'momentum'" for t in every_trial(hpo) if t["error"])
    assert f"KeyError: 'momentum' ({keys})" in last
    assert f" ({states['failed'] - keys})" in last  # errors that differ in numbers only are one kind
    number = last.split()[-1]
    command = last.split("traceback: hpo ")[1].split()
    assert command == ["show", "small", "--trial", number]
    assert "Traceback" in hpo(*command).out


def every_trial(hpo: CommandLine) -> list[dict[str, str | None]]:
    return [hpo("show", "small", "--trial", str(number), "--json").json for number in range(12)]


def test_the_hint_leads_to_the_ledger_that_was_used(hpo: CommandLine) -> None:
    last = moody(hpo).run(*OBJECTIVE, "--storage", "my trials.journal").err.splitlines()[-1]
    assert last.endswith("--storage 'my trials.journal'")


def test_json_stays_json_where_trials_failed(hpo: CommandLine) -> None:
    ended = moody(hpo).run(*OBJECTIVE, "--json")
    assert ended.json["trials"]["failed"] > 0
    assert " trials failed: " in ended.err


def test_failures_that_were_run_again_are_not_news() -> None:
    ended = [
        Trial(0, {}, 0, State.FAILED, error="RuntimeError: a"),
        Trial(1, {}, 0, State.COMPLETE, values=(1.0,)),
        Trial(2, {}, 0, State.COMPLETE, values=(1.0,), notes={RETRY_OF: 0}),
    ]
    where = parse("hpo.journal")
    assert failures(ended, "s", where) is None
    assert failures(ended[:2], "s", where) == (
        "1 of 2 trials failed: RuntimeError: a (1); to run them again: hpo run STUDY.toml --retry-failed; "
        "to see a traceback: hpo show s --trial 0"
    )


def test_more_than_three_kinds_of_errors_are_summed_up() -> None:
    ended = [Trial(i, {}, 0, State.FAILED, error=f"Error{'abcde'[i % 5]}: x") for i in range(7)]
    said = failures(ended, "s", parse("hpo.journal")) or ""
    assert said.startswith("7 of 7 trials failed: Errora: x (2), Errorb: x (2), Errorc: x (1), others (2); ")


def test_the_line_of_an_error_is_the_one_that_names_it() -> None:
    frame = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
    assert error_line(f"{frame}ValueError: one\ntwo") == "ValueError: one"
    assert error_line("reported loss = nan at its last step") == "reported loss = nan at its last step"
    assert error_line(f"RuntimeError: the command ended with exit code 1\n{frame}KeyError: 'x'") == "KeyError: 'x'"
    assert error_line("") == "unknown"


def test_show_tells_everything_about_a_trial(hpo: CommandLine) -> None:
    moody(hpo).run(*OBJECTIVE, "--set", "fixed.epochs=3")
    found = {trial["state"]: trial for trial in every_trial(hpo)}
    for state in ("failed", "complete"):
        trial = found[state]
        out = hpo("show", "s.toml", "--trial", str(trial["number"])).out
        assert out.startswith(f"small, trial {trial['number']}: {state}\n")
        for part in ("started", "attempt", "seed", "worker", "output", "lr ", "epochs  3"):
            assert part in out
    assert "KeyError" in out or "|" in out
    assert found["failed"]["error"] is not None
    assert found["complete"].keys() == {
        *("number", "value", "params", "state", "seconds", "name", "metric", "fixed", "seed", "attempt", "worker"),
        *("started", "ended", "retry_of", "by_hand", "discarded", "error", "reports", "log", "files"),
    }
    assert [report["metrics"]["loss"] for report in found["complete"]["reports"]] == [2.0, found["complete"]["value"]]
    assert found["complete"]["reports"][0]["metrics"]["other"] is None  # JSON has no NaN


def test_what_a_trial_printed_can_be_shown(hpo: CommandLine) -> None:
    (hpo.folder / "moody.py").write_text("def objective(params, seed):\n    print('hello')\n    return 1.0\n")
    run = hpo("run", "s.toml", "--tracking", "none", "--workers", "0", *OBJECTIVE[:2], "--trials", "1", "--verbose")
    assert "trial 0 | hello\n" in run.err
    log = hpo("show", "small", "--trial", "0", "--json").json["log"]
    assert log == str(hpo.folder / ".hpo/trials/small/0/output.log")
    assert f"output   {log}\n" in hpo("show", "small", "--trial", "0").out
    assert hpo("show", "small", "--trial", "0", "--log").out == "hello\n"
    assert hpo("show", "small", "--log", code=2).err.startswith("hpo: --log: needs --trial N")


def test_a_trial_that_is_not_there(hpo: CommandLine) -> None:
    hpo.run()
    assert hpo("show", "small", "--trial", "9", code=2).err == (
        "hpo: --trial: small has no trial 9; its trials are 0 to 4\n"
    )


def test_a_flat_curve_is_a_line_in_the_middle() -> None:
    lines = plot([(1, 0.5), (2, 0.5), (3, 0.5)])
    (middle,) = [line for line in lines if "*" in line]
    assert middle.split("|")[0].strip() == "0.5"
    assert middle.count("*") == 3
