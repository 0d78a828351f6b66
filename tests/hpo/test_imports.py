"""What a study names by its import path: found, or refused with the part that failed."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.errors import InputError
from hpo.imports import call, instance, load

# The end of a message about a module that is not there.
NOWHERE = " in the working folder, the study file's folder or the environment"


class Base:
    pass


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "brought.py").write_text(
        textwrap.dedent("""
            from test_imports import Base

            class Own(Base):
                def __init__(self, speed, seed=0):
                    if speed < 0:
                        raise ValueError("speed must not be negative")
                    self.speed, self.seed = speed, seed

                class Inner:
                    limit = 3

            class Other:
                pass
        """)
    )
    (tmp_path / "broken.py").write_text("x = 1\nraise OSError('no licence')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    yield
    sys.modules.pop("brought", None)


def test_a_dotted_name_of_a_module_in_the_working_folder_is_found() -> None:
    assert load("brought:Own.Inner.limit", "key") == 3


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "absent:x",
            "table.key: cannot import 'absent:x': there is no module 'absent'" + NOWHERE,
        ),
        ("brought:Ow", "table.key: brought:Ow: there is no 'Ow' in brought; did you mean 'Own'?"),
        ("brought:Own.Iner", "table.key: brought:Own.Iner: there is no 'Iner' in brought; did you mean 'Inner'?"),
    ],
)
def test_a_message_names_the_key_and_the_part_that_failed(reference: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(reference, "table.key")
    assert str(raised.value) == message


def test_a_module_that_fails_is_named_with_its_line() -> None:
    with pytest.raises(
        InputError, match=r"^k: broken was found, but importing it failed at .*broken.py, line 2: OSError: "
    ):
        load("broken:x", "k")


def test_a_class_gets_its_options_and_what_it_has_a_parameter_for() -> None:
    made = instance("brought:Own", "sampler", Base, {"speed": 2}, seed=7, space=None)

    assert (made.speed, made.seed) == (2, 7)  # type: ignore[attr-defined]
    assert call(lambda a, b: (a, b), {"a": 1}, b=2, c=3) == (1, 2)


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("brought:Other", {}, "sampler.name: brought:Other must be a class derived from test_imports.Base"),
        (
            "brought:Own",
            {"sped": 2},
            "sampler: brought:Own: missing a required argument: 'speed'; its options are speed",
        ),
        ("brought:Own", {"speed": -1}, "sampler: brought:Own: speed must not be negative"),
    ],
)
def test_a_class_that_does_not_fit_is_refused(reference: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as raised:
        instance(reference, "sampler", Base, options, seed=7)
    assert str(raised.value) == message
