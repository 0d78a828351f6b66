"""``hpo compare``: what it runs, what it takes from the ledger, what it answers."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICK, STUDY, CommandLine

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.study import load

TRIALS = 5


@pytest.fixture
def two(hpo: CommandLine) -> CommandLine:
    """Beside s.toml, study ``other`` in o.toml, whose every trial is worse than any of the first."""
    other = STUDY.replace('"small"', '"other"').replace("[space]", "[fixed]\n    worse = 2.0\n\n    [space]")
    module = hpo.folder / "small_objectives.py"
    worse = 'return params["lr"] + params.get("worse", 0.0)'
    module.write_text(module.read_text().replace('return params["lr"]\n', worse + "\n"))
    for name, text in (("s.toml", STUDY), ("o.toml", other)):
        text = text.replace(":curve", ":number")
        (hpo.folder / name).write_text("\n".join(line.strip() for line in text.splitlines()))
    return hpo


def compare(hpo: CommandLine, *words: str, code: int = 0) -> Any:
    return hpo("compare", *words, "--json", "--workers", "0", "--quiet", code=code).json


# What it runs ------------------------------------------------------------------------------------------------------


def test_every_repeat_is_an_ordinary_study_with_a_seed_of_its_own(two: CommandLine) -> None:
    compare(two, "s.toml", "o.toml", "--repeats", "2", "--set", "sampler.seed=40")
    found = books.read_all(parse("hpo.journal"), lambda name: True)
    assert {name: book.study.seed for name, book in found.items()} == {
        "small-r0": 40,
        "small-r1": 41,
        "other-r0": 40,
        "other-r1": 41,
    }
    assert all(len(book.trials) == TRIALS and book.state == "complete" for book in found.values())
    for repeat in ("r0", "r1"):  # paired: the same draws and the same trials' seeds on both sides
        small, other = (found[f"{name}-{repeat}"].trials for name in ("small", "other"))
        assert [(t.params, t.seed) for t in small] == [(t.params, t.seed) for t in other]


def test_what_has_finished_is_not_run_again_and_the_answer_is_the_same(hpo: CommandLine) -> None:
    (hpo.folder / "o.toml").write_text((hpo.folder / "s.toml").read_text().replace('"small"', '"other"'))
    first = compare(hpo, "s.toml", "o.toml", "--repeats", "2")
    assert hpo.calls == 2 * 2 * TRIALS
    assert compare(hpo, "s.toml", "o.toml", "--repeats", "2") == first
    assert hpo.calls == 2 * 2 * TRIALS
    compare(hpo, "s.toml", "o.toml", "--repeats", "3")
    assert hpo.calls == 3 * 2 * TRIALS


def test_a_repeat_that_was_cut_short_goes_on(hpo: CommandLine) -> None:
    (hpo.folder / "o.toml").write_text((hpo.folder / "s.toml").read_text().replace('"small"', '"other"'))
    hpo.run("--set", "name=small-r0", "--set", "budget.trials=2")
    compare(hpo, "s.toml", "o.toml", "--repeats", "1")
    assert hpo.calls == 2 * TRIALS


def test_names_in_the_ledger_answer_as_their_files_did(two: CommandLine) -> None:
    by_file = compare(two, "s.toml", "o.toml", "--repeats", "3")
    assert compare(two, "small", "other") == by_file
    assert compare(two, "small", "o.toml", "--repeats", "3") == by_file
    assert [s["repeats"] for s in compare(two, "small", "other", "--repeats", "2")["studies"]] == [[0, 1], [0, 1]]


def test_a_study_without_repeats_is_one(two: CommandLine) -> None:
    two.run()
    two("run", "o.toml", *QUICK)
    found = compare(two, "small", "other")
    assert [s["repeats"] for s in found["studies"]] == [[0], [0]]
    assert [c["p_value"] for c in found["contrasts"]] == [1.0, 1.0]


def test_a_fixed_parameter_varies_with_the_repeat(two: CommandLine) -> None:
    compare(two, "s.toml", "o.toml", "--repeats", "2", "--vary", "split_seed", "--set", "fixed.split_seed=7")
    found = books.read_all(parse("hpo.journal"), lambda name: True)
    assert {name: book.study.fixed["split_seed"] for name, book in found.items()} == {
        "small-r0": 7,
        "small-r1": 8,
        "other-r0": 7,
        "other-r1": 8,
    }


def test_an_interrupted_comparison_goes_on_with_the_same_command(two: CommandLine) -> None:
    for name in ("s.toml", "o.toml"):
        path = two.folder / name
        path.write_text(path.read_text().replace(":number", ":waiting"))
    words = ("compare", "s.toml", "o.toml", "--repeats", "1", "--workers", "0", "--quiet", "--json")
    process = two.start(*words)
    try:
        while not (two.folder / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        (two.folder / "go").touch()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted; run the same command to resume: hpo compare s.toml o.toml" in err
    assert list(books.read_all(parse("hpo.journal"), lambda name: True)) == ["small-r0"]
    assert two(*words).json["common"]["trials"] == TRIALS


@pytest.mark.experiment
def test_ray_runs_the_repeats_one_after_another(two: CommandLine) -> None:
    found = two("compare", "s.toml", "o.toml", "--repeats", "2", "--workers", "2", "--json", "--quiet").json
    assert [len(side["best"]) for side in found["studies"]] == [2, 2]


# What it answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "better"), [("minimize", "small"), pytest.param("maximize", "other", marks=pytest.mark.slow)]
)
def test_the_better_study_is_named(two: CommandLine, direction: str, better: str) -> None:
    found = compare(two, "s.toml", "o.toml", "--repeats", "7", "--set", f"direction={direction}")
    assert [c["better"] for c in found["contrasts"]] == [better, better]
    for contrast in found["contrasts"]:
        assert contrast["difference"] == pytest.approx(-2.0)
        assert contrast["corrected"] == pytest.approx(2 * 2 / 2**7)
    assert found["common"] == {"trials": TRIALS, "reports": TRIALS}
    small, other = found["studies"]
    assert small["target"]["reached"] == 4  # by definition: the target is its own median
    assert other["target"]["reached"] == (0 if direction == "minimize" else 7)


@pytest.mark.slow
def test_equal_studies_show_no_difference(two: CommandLine) -> None:
    same = (two.folder / "s.toml").read_text().replace('"small"', '"same"')
    (two.folder / "same.toml").write_text(same)
    ended = two("compare", "s.toml", "same.toml", "--repeats", "8", "--workers", "0", "--quiet")
    assert ended.out.count("no difference shown") == 2
    assert "is better" not in ended.out
    assert "cannot show any difference" not in ended.out


def test_too_few_repeats_say_how_many_it_takes(two: CommandLine) -> None:
    ended = two("compare", "s.toml", "o.toml", "--repeats", "3", "--workers", "0", "--quiet")
    remark = "3 paired repeats cannot show any difference here; it takes at least 7\n"
    assert remark in ended.out
    assert ended.err == f"hpo: small and other also differ in fixed\nhpo: {remark}"  # before the first search
    again = two("compare", "s.toml", "o.toml", "--repeats", "3", "--workers", "0", "--quiet")
    assert remark in again.out
    assert remark not in again.err  # nothing was run
    assert "is better" not in ended.out


def test_budgets_are_in_reports_where_pruners_differ(hpo: CommandLine) -> None:
    pruned = (hpo.folder / "s.toml").read_text().replace('"small"', '"other"')
    (hpo.folder / "o.toml").write_text(pruned + '\n[pruner]\nname = "threshold"\nupper = 1e-9\n')
    (hpo.folder / "same.toml").write_text(pruned)
    found = compare(hpo, "s.toml", "same.toml", "--repeats", "1")
    assert (found["over"], found["common"]) == ("trials", {"trials": TRIALS, "reports": 3 * TRIALS})
    hpo("delete", "other-r0", "--yes", "--tracking", "none")
    found = compare(hpo, "s.toml", "o.toml", "--repeats", "1")
    assert found["over"] == "reports"
    assert found["studies"][1]["failed"] == 1  # all its trials were pruned
    assert compare(hpo, "small", "other", "--over", "trials")["over"] == "trials"


@pytest.mark.slow
def test_a_failed_search_is_told_and_counts(two: CommandLine) -> None:
    broken = (two.folder / "s.toml").read_text().replace('"small"', '"broken"').replace(":number", ":failing")
    (two.folder / "broken.toml").write_text(broken)
    words = ("s.toml", "broken.toml", "--repeats", "7", "--set", "budget.trials=12", "--workers", "0", "--quiet")
    ended = two("compare", *words, "--json")
    assert "hpo: broken-r0 counts as failed: the first 10 trials all failed" in ended.err
    assert [side["failed"] for side in ended.json["studies"]] == [0, 7]
    assert ended.json["contrasts"][0]["better"] == "small"
    assert ended.json["common"]["trials"] == 12


def test_failing_everywhere_is_a_failure(two: CommandLine) -> None:
    for name in ("s.toml", "o.toml"):
        path = two.folder / name
        path.write_text(path.read_text().replace(":number", ":failing"))
    ended = two("compare", "s.toml", "o.toml", "--repeats", "1", "--workers", "0", "--quiet", code=1)
    assert ended.err.splitlines()[-1] == "hpo: no search has a complete trial"


def test_the_figure_is_written_as_png_and_svg(two: CommandLine) -> None:
    files = compare(two, "s.toml", "o.toml", "--repeats", "2", "--out", "figures")["files"]
    assert files == ["figures/comparison.png", "figures/comparison.svg"]
    assert Path(files[0]).read_bytes().startswith(b"\x89PNG")
    drawn = Path(files[1]).read_text(encoding="utf-8")
    assert all(word in drawn for word in ("small", "other", "finished trials", "best loss so far"))


def test_an_unfinished_study_is_told_and_counts_as_far_as_it_has_come(two: CommandLine) -> None:
    two.run("--set", "budget.trials=2")
    Ledger.open(parse("hpo.journal"), load("s.toml")).close()  # a driver that was given more, and did nothing
    two("run", "o.toml", *QUICK)
    ended = two("compare", "small", "other", "--json")
    assert "hpo: small is stopped: only its finished trials count" in ended.err
    assert ended.json["common"]["trials"] == 2


# What it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("s.toml",), "compare: give at least two studies"),
        (("s.toml", "s.toml"), "each study needs its own name, got small, small"),
        (("s.toml", "o.toml", "--set", "name=x"), "each study needs its own name, got x, x"),
        (("s.toml", "absent"), "there is no study 'absent' in hpo.journal"),
        (("s.toml", "absent.toml"), "absent.toml: cannot be read"),
        (("s.toml", "o.toml", "--vary", "worse"), "--vary: fixed.worse must be a whole number, got 2.0"),
        (("s.toml", "o.toml", "--set", "sampler.seed=4294967295"), "sampler.seed: must be"),
        (("s.toml", "o.toml", "--workers", "x"), "--workers: must be a whole number, 0 or more, or auto, got 'x'"),
        (("a", "b", "--target", "nan"), "--target: must be a finite number, got nan"),
        (("a", "b", "--set", "budget.trials=3"), "--set: applies to study files only, and none is given"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_run(two: CommandLine, words: tuple[str, ...], message: str) -> None:
    ended = two("compare", *words, "--repeats", "2", code=2)
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not Path("hpo.journal").exists() or not books.names(parse("hpo.journal"))


def test_two_metrics_cannot_be_compared(two: CommandLine) -> None:
    path = two.folder / "o.toml"
    path.write_text(path.read_text().replace('"minimize"', '"maximize"'))
    ended = two("compare", "s.toml", "o.toml", code=2)
    assert "direction must be the same, got 'minimize' in small and 'maximize' in other" in ended.err


@pytest.fixture
def fronts(hpo: CommandLine) -> CommandLine:
    """Two studies with two objectives, the second of which has shifted both for the worse."""
    (hpo.folder / "pairs.py").write_text(
        "def both(params, seed):\n"
        "    shift = params.get('shift', 0.0)\n"
        "    yield {'loss': params['x'] ** 2 + shift, 'size': (params['x'] - 1) ** 2 + shift}\n"
    )
    for name, fixed in (("near", ""), ("far", "[fixed]\nshift = 0.5\n")):
        (hpo.folder / f"{name}.toml").write_text(
            f'name = "{name}"\nobjective = "pairs:both"\n[objectives]\nloss = "minimize"\nsize = "minimize"\n'
            f"{fixed}[space]\nx = {{ low = -1.0, high = 2.0 }}\n[budget]\ntrials = 8\n"
        )
    return hpo


def test_studies_with_several_objectives_are_compared_by_hypervolume(fronts: CommandLine) -> None:
    found = compare(fronts, "near.toml", "far.toml", "--repeats", "8", "--out", "figure")

    assert (found["metric"], found["direction"]) == ("hypervolume", "maximize")
    assert found["objectives"] == {"loss": "minimize", "size": "minimize"}
    trials = [t for book in books.read_all(parse("hpo.journal"), lambda name: True).values() for t in book.trials]
    assert found["reference"].keys() == {"loss", "size"}
    assert found["reference"]["loss"] <= max(trial.values[0] for trial in trials)
    assert [contrast["better"] for contrast in found["contrasts"]] == ["near", "near"]
    near, far = (study["best"] for study in found["studies"])
    assert all(0 <= worse < better <= 1 for worse, better in zip(far, near, strict=True))
    assert (fronts.folder / "figure" / "comparison.svg").exists()

    said = fronts("compare", "near", "far").out
    assert "minimize loss, minimize size: compared by hypervolume: the share" in " ".join(said.split())
    assert "hypervolume, maximize, on a common budget of 8 trials" in said


def test_different_objectives_cannot_be_compared(fronts: CommandLine) -> None:
    path = fronts.folder / "far.toml"
    path.write_text(path.read_text().replace('size = "minimize"', 'size = "maximize"'))
    ended = fronts("compare", "near.toml", "far.toml", code=2)
    assert (
        "objectives must be the same, got 'minimize loss, minimize size' in near and 'minimize loss, maximize size' "
        "in far"
    ) in ended.err


def test_one_objective_cannot_be_compared_with_two(fronts: CommandLine) -> None:
    ended = fronts("compare", "near.toml", "s.toml", code=2)
    assert "objectives must be the same, got 'minimize loss, minimize size' in near and" in ended.err


def test_repeats_of_another_sampler_are_not_taken_for_this_one(two: CommandLine) -> None:
    compare(two, "s.toml", "o.toml", "--repeats", "1")
    ended = two("compare", "s.toml", "o.toml", "--repeats", "2", "--set", "sampler.name=qmc", code=2)
    assert 'sampler: other-r0 was run with {"name": "random", "seed": 0}, now it is {"name": "qmc"' in ended.err
    assert "run: hpo delete other-r0" in ended.err


def test_other_differences_are_remarked_on(two: CommandLine) -> None:
    ended = two("compare", "s.toml", "o.toml", "--repeats", "1", "--workers", "0", "--quiet", "--json")
    assert ended.err == "hpo: small and other also differ in fixed\n"
    assert json.loads(ended.out)["files"] == []
