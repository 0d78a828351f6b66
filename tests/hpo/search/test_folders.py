"""Whose folder is kept: after every trial, after a kill, and for every rule."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.execution import Ended, Event, Outcome, Task
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search.folders import TrialFolders, links, own_folder
from hpo.search.loop import Search
from hpo.testing.fakes import ScriptedExecutor, small_study
from hpo.trial import Direction, State, Trial, best_first

STATES = st.sampled_from([State.COMPLETE, State.PRUNED, State.FAILED])


def trial(number: int, state: State, value: float | None) -> Trial:
    return Trial(number=number, state=state, params={}, seed=0, attempt=1, values=() if value is None else (value,))


def folders(root: Path, keep: int | None, notify: Callable[[str], object] = pytest.fail) -> TrialFolders:
    return TrialFolders(root / "checkpoints", root / "own", keep, {"loss": Direction.MINIMIZE}, notify)


def there(root: Path) -> set[int]:
    return {int(path.parent.name) for path in (root / "own").glob("*/files")}


@given(st.lists(st.tuples(STATES, st.integers(0, 9)), max_size=12), st.sampled_from([None, 0, 1, 3]), st.data())
def test_exactly_the_best_keep_their_folders_whenever_the_driver_dies(
    tmp_path_factory: pytest.TempPathFactory, ends: list[tuple[State, int]], keep: int | None, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("folders")
    places, trials = folders(root, keep), list[Trial]()
    for number, (state, value) in enumerate(ends):
        places.own(number).mkdir(parents=True)
        trials.append(trial(number, State.RUNNING, None))
        trials[number] = finished = trial(number, state, float(value))
        if data.draw(st.booleans()):  # the driver dies here; the next one begins
            places = folders(root, keep)
            places.tidy(trials)
        else:
            places.tidy(trials, finished)
        best = {t.number for t in best_first(trials, Direction.MINIMIZE)[: len(trials) if keep is None else keep]}
        assert there(root) == (set(range(number + 1)) if keep is None else best)


def test_what_a_trial_has_put_in_the_place_of_its_folder_goes_too(tmp_path: Path) -> None:
    places, target = folders(tmp_path, 0), tmp_path / "target"
    target.mkdir()
    failed = [trial(number, State.FAILED, None) for number in range(3)]
    for number in range(3):
        places.own(number).parent.mkdir(parents=True)
    places.own(0).touch()
    places.own(1).symlink_to(target)
    places.own(2).symlink_to("nowhere")
    for ended in failed:
        places.tidy(failed, ended)
        assert [*places.own(ended.number).parent.iterdir()] == []
    assert target.exists()


def test_trials_are_echoed_in_whole_lines(tmp_path: Path) -> None:
    said: list[str] = []
    places = TrialFolders(tmp_path, tmp_path / "own", None, {"loss": Direction.MINIMIZE}, pytest.fail, said.append)
    for number, text in [
        (0, b"one\r10 %\r\ntw"),
        (1, b"\xc3"),
        (0, b"o\n"),
        (1, b"\xa9\n"),
        (0, b"half"),
        (1, b"last"),
    ]:
        places.printed(number, text)
    assert said == ["trial 0 | one", "trial 0 | 10 %", "trial 0 | two", "trial 1 | é"]
    places.begin(0, 2)
    places.tidy([trial(0, State.RUNNING, None), ended := trial(1, State.FAILED, None)], ended)
    assert said[4:] == ["trial 0 | half", "trial 0 | [attempt 2]", "trial 1 | last"]


def test_output_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "own").touch()
    said: list[str] = []
    places = folders(tmp_path, None, said.append)
    for number in (0, 0, 1):
        places.printed(number, b"text")
    assert said == [f"trial 0: its output cannot be written to {tmp_path}/own/0/output.log: Not a directory"]


def test_the_folder_of_a_running_trial_stays(tmp_path: Path) -> None:
    places = folders(tmp_path, 1)
    for number in range(2):
        places.own(number).mkdir(parents=True)
    folders(tmp_path, 1).tidy([trial(0, State.COMPLETE, 1.0), trial(1, State.RUNNING, None)])
    assert there(tmp_path) == {0, 1}


def test_a_checkpoint_goes_when_its_trial_has_finished(tmp_path: Path) -> None:
    places = folders(tmp_path, None)
    places.checkpoint(0).mkdir(parents=True)
    places.tidy([trial(0, State.RUNNING, None)])
    assert places.checkpoint(0).exists()
    places.tidy([trial(0, State.FAILED, None)], trial(0, State.FAILED, None))
    assert not places.checkpoint(0).exists()


WRITER = """
import itertools, os, sys
for count in itertools.count():
    folder = os.path.join(sys.argv[1], "part", str(count % 50))
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, str(count)), "w") as file:
            file.write("x" * 1000)
    except OSError:
        pass
    if count == 200:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("which", ["checkpoint", "own"])
def test_a_folder_that_something_still_writes_to_is_left_with_a_remark_or_gone(tmp_path: Path, which: str) -> None:
    remarks: list[str] = []
    places = folders(tmp_path, 0, remarks.append)
    trials = [trial(number, State.COMPLETE, 0.5) for number in range(20)]
    for one in trials:
        folder = places.checkpoint(one.number) if which == "checkpoint" else places.own(one.number)
        folder.mkdir(parents=True)
        words = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "writing\n"
                places.tidy(trials, one)
            finally:
                writer.kill()
        if remarks:
            break
    assert remarks, "no folder was written to in the right moment"
    assert re.fullmatch(rf"could not delete the folder {re.escape(str(folder))}: .*; delete it yourself", remarks[0])
    places.tidy(trials, trials[-1])


def test_a_folder_that_is_too_deep_to_be_removed_is_left_with_a_remark_or_gone(tmp_path: Path) -> None:
    remarks: list[str] = []
    places = folders(tmp_path, 0, remarks.append)
    ended = trial(0, State.COMPLETE, 0.5)
    deep = """
import os, sys
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
"""
    subprocess.run([sys.executable, "-c", deep, str(places.checkpoint(0))], check=True)
    try:
        places.tidy([ended], ended)
        assert bool(remarks) == places.checkpoint(0).exists()
    finally:
        subprocess.run(["rm", "-rf", str(places.checkpoint(0))], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("which", ["checkpoint", "own"])
def test_a_folder_of_another_user_is_left_with_a_remark(tmp_path: Path, which: str) -> None:
    remarks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hpo-") as name:  # pytest's own folder is closed to others
        root = Path(name)
        root.chmod(0o755)
        places = folders(root, 0, remarks.append)
        ended = trial(0, State.COMPLETE, 0.5)
        folder = places.checkpoint(0) if which == "checkpoint" else places.own(0)
        folder.mkdir(parents=True)
        (folder / "weights").touch()
        os.seteuid(65534)
        try:
            places.tidy([ended], ended)
        finally:
            os.seteuid(0)
        assert remarks == [f"could not delete the folder {folder}: Permission denied; delete it yourself"]
        assert (folder / "weights").exists()


def test_studies_of_two_ledgers_do_not_share_their_folders(tmp_path: Path) -> None:
    one, other = own_folder(tmp_path, "s", "a" * 32), own_folder(tmp_path, "s", "b" * 32)
    assert one == tmp_path / "trials" / "s"
    assert other == tmp_path / "trials" / "s-bbbbbbbb"
    assert own_folder(tmp_path, "s", "b" * 32) == other
    assert all(path.is_dir() for path in (one, other))


def test_addresses_on_a_page_are_safe_in_any_folder(tmp_path: Path) -> None:
    own = own_folder(tmp_path / 'javascript:"<b>& #?', "s", "a" * 32)
    places = TrialFolders(tmp_path / "checkpoints", own, None, {"loss": Direction.MINIMIZE}, pytest.fail)
    places.printed(3, b"hello")
    (own / "notes").mkdir()
    assert links(own, tmp_path) == {3: {"log": "javascript%3A%22%3Cb%3E%26%20%23%3F/trials/s/3/output.log"}}
    assert links(None, tmp_path) == {}


# On the nodes of a cluster ------------------------------------------------------------------------------------------


class FakeNodes:
    """Nodes that are folders; they record how good the kept folders were before each removal."""

    def __init__(self, root: Path, errors: Mapping[str, OSError] = MappingProxyType({})) -> None:
        self.root, self.errors, self.swept = root, errors, False

    def made(self, number: int) -> str:
        (self.root / "node" / str(number)).mkdir(parents=True)
        (self.root / "node" / str(number) / "model").write_text(str(number))
        return f"node/{number}"

    def fetch(self, uid: str, place: str, into: Path) -> None:
        if place in self.errors:
            raise self.errors[place]
        shutil.copytree(self.root / place, into)

    def discard(self, uid: str, places: Collection[str]) -> None:
        for place in places:
            shutil.rmtree(self.root / place)

    def sweep(self, uid: str, keep: Collection[str]) -> None:
        self.swept = True
        self.discard(uid, {f"node/{name}" for name in self.names()} - {*keep})

    def names(self) -> set[str]:
        return {path.name for path in self.root.glob("node/*")}


@given(
    st.lists(st.tuples(STATES, st.integers(0, 9), st.booleans()), max_size=12),
    st.sampled_from([None, 0, 1, 3]),
    st.data(),
)
def test_the_best_folders_come_from_the_nodes_whenever_the_driver_dies(
    tmp_path_factory: pytest.TempPathFactory, ends: list[tuple[State, int, bool]], keep: int | None, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("folders")
    nodes, trials = FakeNodes(root), list[Trial]()

    def best(among: Collection[int]) -> set[int]:
        found = [trials[number] for number in among]
        return {t.number for t in (found if keep is None else best_first(found, Direction.MINIMIZE)[:keep])}

    while len(trials) < len(ends):
        places = folders(root, keep)
        with suppress(KeyError), places.gathering(nodes, trials, "uid"):
            for number, (state, value, shared) in list(enumerate(ends))[len(trials) :]:
                places.begin(number, 1)
                trials.append(trial(number, state, float(value)))
                if shared:
                    places.own(number).mkdir(parents=True)
                else:
                    places.remote.add(number, nodes.made(number))
                if data.draw(st.booleans()):
                    raise KeyError("the driver dies")
                places.tidy(trials, trials[number])
                assert best(range(number + 1)) <= there(root) | {int(name) for name in nodes.names()}
        places.remote.wait()  # a real driver's thread dies with it
    places = folders(root, keep)
    with places.gathering(nodes, trials, "uid"):
        pass
    assert there(root) == best(range(len(trials)))
    assert nodes.names() == set()
    assert not list(root.glob("own/*/place"))
    for number in there(root):
        assert ends[number][2] or (places.own(number) / "model").read_text() == str(number)


def test_a_folder_that_is_lost_makes_room_for_the_next_best_and_one_that_is_not_stays(tmp_path: Path) -> None:
    remarks: list[str] = []
    nodes = FakeNodes(tmp_path, {"node/2": FileNotFoundError("gone"), "node/1": OSError("the disk is full")})
    trials = [trial(number, State.COMPLETE, 9.0 - number) for number in range(3)]
    places = folders(tmp_path, 1, remarks.append)
    with places.gathering(nodes, [], "uid"):
        for number in range(3):
            places.remote.add(number, nodes.made(number))
            places.tidy(trials[: number + 1], trials[number])
    with folders(tmp_path, 1, remarks.append).gathering(nodes, trials, "uid"):
        pass
    assert there(tmp_path) == {0}
    assert "trial 2: its folder is lost: gone" in remarks
    assert "trial 1: its folder could not be fetched, the next run tries again: the disk is full" in remarks
    assert "1" in nodes.names()


def test_a_place_is_known_before_the_ledger_has_the_trial_and_only_then(tmp_path: Path) -> None:
    nodes, seen = FakeNodes(tmp_path), list[bool]()

    def ended(task: Task) -> Iterator[Mapping[str, float] | Event]:
        yield {"score": float(task.number)}
        yield Ended(task.number, task.attempt, Outcome.FINISHED, 0.0, place=nodes.made(task.number))

    class Watched(Ledger):
        def finish(self, finished: Trial) -> None:
            seen.append((tmp_path / "own" / str(finished.number) / "place").exists())
            super().finish(finished)

    with closing(Watched.open(parse(str(tmp_path / "s.journal")), small_study(trial={"keep": "best 2"}))) as ledger:
        places = TrialFolders(tmp_path / "c", tmp_path / "own", 2, {"score": Direction.MAXIMIZE}, pytest.fail)
        search = Search(small_study(trial={"keep": "best 2"}), ledger, places)
        with places.gathering(nodes, search.trials, ledger.uid):
            search.run(ScriptedExecutor(ended))
    assert seen == [True] * len(search.trials)
    assert there(tmp_path) == {t.number for t in best_first(search.trials, Direction.MAXIMIZE)[:2]}


def test_what_has_arrived_by_half_when_its_driver_died_is_removed(tmp_path: Path) -> None:
    half = tmp_path / "own" / "3" / "files.arriving"
    half.mkdir(parents=True)
    (half / "model").touch()
    folders(tmp_path, 1)
    assert not half.exists()


def test_without_the_cluster_a_person_is_told_where_the_folders_are(tmp_path: Path) -> None:
    remarks: list[str] = []
    folders(tmp_path, 1).remote.add(0, "node/0")
    with folders(tmp_path, 1, remarks.append).gathering(None, [trial(0, State.COMPLETE, 1.0)], "uid"):
        pass
    assert remarks == [
        "the folders of 1 trials are still on the nodes of a cluster; to fetch them, run the study on it"
    ]
