"""What other processes ask of a search: edits, trials by hand, leases (``hpo set``, ``add``, ``ask``, ``tell`` ...).

The loop takes up the requests in the ledger's inbox; on a stopped study, a command that holds the study's lock does.
A request is done once. What it does is written first, with the request's id; its answer is written after that. When a
writer dies between the two, the next one finds the work by the id, and only answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, InputError, SearchFailed, StorageError, StudyLocked
from hpo.execution import Resizable
from hpo.ledger import DISCARDED_ATTR, EDITS_ATTR, FILE_ATTR, REQUEST, discards
from hpo.ledger.inbox import ANSWER_EXPIRY_SECONDS
from hpo.ledger.ledger import Ledger
from hpo.search.leases import Leases
from hpo.search.request import Request
from hpo.search.running import Running
from hpo.study.edits import WORKERS, edited, from_json, holding, undone, workers
from hpo.study.fields import Place, boolean, text
from hpo.study.points import read_point
from hpo.text import for_json
from hpo.trial import BY_HAND, RETRY_OF, State, Trial

if TYPE_CHECKING:
    from hpo.search.loop import Search


class RequestHandler:
    """Takes up what is asked of a search.

    Args:
        search: The search.
        ledger: Its ledger.
    """

    def __init__(self, search: Search, ledger: Ledger) -> None:
        self._search, self._ledger = search, ledger
        self._leases = Leases(search, ledger)
        self._answered: set[str] = set()
        self._work: dict[str, Callable[[Request], dict[str, Any] | None]] = {
            "set": self._set,
            "add": self._add,
            "stop-trial": self._stop,
            "discard": self._discard,
            "retry": self._retry,
            "ask": self._leases.ask,
            "renew": self._leases.renew,
            "tell": self._leases.tell,
        }

    def take_up(self, *, fresh: bool = False) -> None:
        """Does what is asked, the oldest request first, and takes back leases that have run out.

        Args:
            fresh: Read the inbox now; otherwise what was read a moment ago is enough.

        Raises:
            SearchFailed: When as many trials in a row have failed as the study allows.
        """
        self._leases.expire()
        inbox = self._ledger.inbox
        found = inbox.fresh() if fresh else inbox.look()
        new = [item for item in found.items() if item[0] not in self._answered and isinstance(item[1], dict)]
        for key, stored in sorted(new, key=lambda item: (str(item[1].get("time")), item[0])):
            if "answer" not in stored:
                self._answer(key, stored)
            elif (
                not isinstance(moment := stored.get("time"), int | float)
                or time.time() - moment > ANSWER_EXPIRY_SECONDS
            ):
                self._ledger.forget(key)

    def _answer(self, key: str, stored: dict[str, Any]) -> None:
        failed: SearchFailed | None = None
        try:
            request = Request.read(key.removeprefix(REQUEST), stored, self._search.study.name)
            done = self._work[request.do](request)
            if done is None:  # not yet
                return
            answer: dict[str, Any] = {"done": done}
        except (StorageError, StudyLocked):
            raise
        except SearchFailed as error:  # the trial's end is recorded; that the search has failed is for the driver
            failed, answer = error, {"done": self._leases.told(request)}
        except InputError as error:
            answer = {"refused": str(error), "about": _about(error)}
        except HpoError:
            raise
        except Exception as error:  # a request that crashed this writer would crash each one after it
            answer = {"refused": f"{request.command}: {type(error).__name__}: {error}"}
        self._ledger.set(key, stored | {"answer": answer})
        self._answered.add(key)
        if failed is not None:
            raise failed

    # Edits ---------------------------------------------------------------------------------------------------------

    def _set(self, request: Request) -> dict[str, Any]:
        search = self._search
        study, edits, request_id = search.study, from_json(self._ledger.get(EDITS_ATTR, ())), request.id
        # By a writer that died before it could answer.
        if any(request_id in (edit.request, edit.undone) for edit in edits):
            study = holding(study, edits, request_id)
        else:
            wanted, reset = request.take("edits", _texts), request.take("reset", _texts)
            if not wanted and not reset:
                raise request.refusal("needs KEY=VALUE, or --reset KEY", "edits")
            if reset:
                study, edits = undone(study, edits, reset, request=request_id, by=request.by)
            if wanted:
                file = self._ledger.get(FILE_ATTR) or study.resolved
                study, edits = edited(study, edits, wanted, file, request=request_id, time=request.time, by=request.by)
        mine = [edit for edit in edits if edit.request == request_id]
        count, executor = workers(mine), search.executor
        if count and executor and not isinstance(executor, Resizable):
            rule = (
                "cannot be changed in a run with --workers 0, which runs one trial after another; stop it and run the "
                "study with more workers"
            )
            raise request.error(WORKERS, rule, count)
        if study.resolved != search.study.resolved:
            search.adopt(study)
        if count and isinstance(executor, Resizable):
            executor.resize(None if count == "auto" else int(count))
        self._ledger.set(EDITS_ATTR, [asdict(edit) for edit in edits])
        self._ledger.adopt(study)
        running = search.executor is not None
        return {
            "edits": [
                {"key": edit.key, "value": edit.text, "before": edit.before, "now": running and edit.live}
                for edit in mine
            ],
            "reset": [
                {"key": edit.key, "before": edit.text, "now": running and edit.live and edit.key != WORKERS}
                for edit in edits
                if edit.undone == request_id
            ],
        }

    # By hand -------------------------------------------------------------------------------------------------------

    def _add(self, request: Request) -> dict[str, Any]:
        search = self._search
        done = self._made_by(request)
        if not done:
            point = read_point(Place(request.command), request.get("point"), search.study.space)
            request.check_budget(search)
            search.begin(search.advisor.ask(point, {BY_HAND: request.mark()}))
            done = [search.trials[-1]]
            search.publish(done[0].number)
        return {"number": done[0].number, "params": dict(done[0].params), "seed": done[0].seed}

    def _made_by(self, request: Request) -> list[Trial]:
        """The trials that a request has made, perhaps by a writer that died before it could answer."""
        made = [trial for trial in self._search.trials if BY_HAND in trial.notes]
        return [trial for trial in made if trial.notes[BY_HAND]["request"] == request.id]

    def _stop(self, request: Request) -> dict[str, Any] | None:
        search, trial = self._search, request.trial(self._search.trials)
        number = trial.number
        if trial.finished:
            if trial.notes.get(BY_HAND, {}).get("do") != request.do:
                leave = f"to leave it out: hpo discard {search.study.name} {number} --why TEXT"
                raise request.refusal(f"trial {number} has ended already: {trial.state}; {leave}", value=number)
            return {"number": number, "state": trial.state, **trial.scored(search.study.objectives)}
        running = search.running.get(number) or search.leased.get(number)
        if running is not None and running.stopping:
            return None  # until it has ended
        if running is None:
            running = Running(trial)
            search.waiting.remove(trial)
        running.trial = replace(running.trial, notes={**running.trial.notes, BY_HAND: request.mark()})
        search.advisor.note(number, BY_HAND, request.mark())
        search.stop(running)
        if number in search.running:
            return None
        search.finish(running, State.PRUNED, running.last(search.study.objectives).values())
        search.publish(number)
        return self._stop(request)

    def _discard(self, request: Request) -> dict[str, Any]:
        search, trial = self._search, request.trial(self._search.trials)
        number, undo = trial.number, request.take("undo", _flag)
        why = "" if undo else request.take("why", text)
        if not trial.finished:
            rule = f"trial {number} has not ended; to end it: hpo stop-trial {search.study.name} {number}"
            raise request.refusal(rule, value=number)
        marks = dict(self._ledger.get(DISCARDED_ATTR, {}))
        if undo and discards(mark := marks.get(str(number))):
            marks[str(number)] = {**mark, "undone": {"time": request.time, "by": request.by}}
            notes = {key: value for key, value in trial.notes.items() if key != DISCARDED_ATTR}
            trial = replace(trial, state=State(mark["state"]), notes=notes)
        elif not undo:
            state = marks.get(str(number), {}).get("state", trial.state)
            mark = marks[str(number)] = {"why": why, "state": state, "time": request.time, "by": request.by}
            trial = replace(trial, state=State.DISCARDED, notes={**trial.notes, DISCARDED_ATTR: mark})
        if trial != search.trials[number]:
            self._ledger.set(DISCARDED_ATTR, marks)
            search.trials[number] = trial
            search.adopt(search.study)
            search.publish(number)
        return {"number": number, "state": trial.state, **trial.scored(search.study.objectives)}

    def _retry(self, request: Request) -> dict[str, Any]:
        search, done = self._search, self._made_by(request)
        again: dict[Any, int | None] = {
            trial.notes.get(RETRY_OF): trial.number for trial in search.trials if trial not in done
        }
        again |= {trial.number: None for trial in search.retries}  # they are about to be
        wanted = [request.trial(search.trials, number) for number in request.take("trials", _numbers)]
        for trial in wanted:
            if trial.state is not State.FAILED:
                another = f"to try its parameters again: hpo add {search.study.name} PARAMETER=VALUE ..."
                rule = f"trial {trial.number} has not failed: {trial.state}; {another}"
                raise request.refusal(rule, value=trial.number)
            if trial.number in again:
                rule = f"trial {trial.number} was run again already, as trial {again[trial.number]}"
                raise request.refusal(rule, value=trial.number)
        failed = [trial for trial in search.trials if trial.state is State.FAILED and trial.number not in again]
        for trial in wanted or failed:
            if all(made.notes[RETRY_OF] != trial.number for made in done):
                search.begin(search.advisor.ask_again(trial, {BY_HAND: request.mark()}))
                done.append(search.trials[-1])
                search.publish(done[-1].number)
        return {"trials": {str(trial.notes[RETRY_OF]): trial.number for trial in done}}


def _flag(value: Any) -> bool:
    return boolean(value) if value is not None else False


def _texts(value: Any) -> list[str]:
    if value is not None and (not isinstance(value, list) or not all(isinstance(item, str) for item in value)):
        raise ValueError("must be a list of KEY=VALUE, or to reset, of KEY")
    return value or []


def _numbers(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list of trials' numbers")
    return [item for index, item in enumerate(value) if item not in value[:index]]


def _about(error: InputError) -> dict[str, Any]:
    """What an error says of the input, as JSON can hold it."""
    about = {name: getattr(error, name) for name in ("file", "key", "rule", "value")}
    try:
        return dict(json.loads(json.dumps(for_json(about), default=str)))
    except (ValueError, TypeError, RecursionError):  # a number of thousands of digits, a key that is no text
        return about | {"value": None}  # the message shows it
