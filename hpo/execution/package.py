"""What of a working folder travels with a job: a person's code, and nothing that is large, made, or secret."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from hpo.errors import InputError

IGNORE_FILES = (".gitignore", ".hpoignore")
# What a working folder gathers: environments, caches, what hpo and MLflow write. An ignore file may take it back in.
GATHERED = """
    .git .hg/ .svn/ .venv/ venv/ node_modules/
    __pycache__/ *.py[co] *.egg-info/ .ipynb_checkpoints/ .pytest_cache/ .mypy_cache/ .ruff_cache/ .hypothesis/ .tox/
    .hpo/ hpo.journal* mlflow.db* mlruns/ mlartifacts/ reports/
"""
# What opens doors: nothing takes it back in.
SECRETS = """
    .env .env.* *.env .netrc .pgpass .ssh/ .aws/ .azure/ .kube/ .ray/ .mlflow/ *.pem *.key id_rsa* id_ed25519* id_ecdsa*
"""
# Bytes and files; Ray keeps every job's folder in the memory of the cluster's head.
MOST_BYTES, MOST_FILES = 100 * 2**20, 10_000


def pack(folder: Path, study_file: Path, package: Path) -> tuple[str, int]:
    """Writes a working folder's code and a study file into a zip file; the same content gives the same bytes.

    Args:
        folder: The working folder; its ``.gitignore`` and ``.hpoignore`` say what stays.
        study_file: Goes along in any case, from wherever it is.
        package: The zip file to write.

    Returns:
        The study file's path in the package, and how many files there are.

    Raises:
        InputError: When an ignore file cannot be read, or when there is too much, naming the biggest files.
    """
    sizes = dict(_chosen(folder))
    inside = study_file.resolve().is_relative_to(folder.resolve())
    name = study_file.resolve().relative_to(folder.resolve()).as_posix() if inside else study_file.name
    if not inside and name in sizes:
        raise InputError(f"submit: {study_file} lies outside the working folder, which has a {name} of its own")
    if sum(sizes.values()) > MOST_BYTES:
        biggest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
        raise InputError(
            f"submit: the working folder {folder} holds {_megabytes(sum(sizes.values()))}, a job takes at most "
            f"{_megabytes(MOST_BYTES)}; name in .hpoignore what it does not need; the biggest are "
            + ", ".join(f"{name} ({_megabytes(size)})" for name, size in biggest)
        )
    sources = {file: folder / file for file in sizes} | {name: study_file}
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for arcname, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(arcname)  # of no date
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = source.stat().st_mode << 16
            archive.writestr(entry, source.read_bytes())
    return name, len(sources)


def _chosen(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative paths and sizes. Links to folders are not followed."""
    ignored = _ignored(folder)
    count = 0
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not ignored.match_file(f"{(here / name).as_posix()}/")
            and not (folder / here / name / "pyvenv.cfg").exists()  # an environment, whatever its name
        )
        for name in sorted(files):
            path = (here / name).as_posix()
            if ignored.match_file(path) or not (folder / path).is_file():
                continue
            count += 1
            if count > MOST_FILES:
                raise InputError(
                    f"submit: the working folder {folder} holds more than {MOST_FILES} files; "
                    "call it in the folder of your objective, or name in .hpoignore what a job does not need"
                )
            yield path, (folder / path).stat().st_size


def _ignored(folder: Path) -> GitIgnoreSpec:
    lines = GATHERED.split()
    for name in IGNORE_FILES:
        try:
            lines += (folder / name).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"submit: {folder / name} cannot be read: {error}") from None
    try:
        return GitIgnoreSpec.from_lines([*lines, *SECRETS.split()])
    except ValueError as error:
        raise InputError(f"submit: {' or '.join(IGNORE_FILES)} in {folder}: {error}") from None


def _megabytes(size: float) -> str:
    return f"{size / 2**20:.1f} MB"
