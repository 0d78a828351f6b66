"""What travels with a job: the working folder's code, and nothing large, generated or secret."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from hpo.errors import InputError

IGNORE_FILES = (".gitignore", ".hpoignore")
# Left behind: environments, caches, and what hpo and MLflow write. An ignore file may include it again.
GATHERED = """
    .git .hg/ .svn/ .venv/ venv/ node_modules/
    __pycache__/ *.py[co] *.egg-info/ .ipynb_checkpoints/ .pytest_cache/ .mypy_cache/ .ruff_cache/ .hypothesis/ .tox/
    .hpo/ hpo.journal* mlflow.db* mlruns/ mlartifacts/ reports/
"""
# Secrets, in small letters: no ignore file can include them again.
SECRETS = """
    .env .env.* *.env .envrc .netrc _netrc .pgpass *.pgpass pgpass.conf .pg_service.conf .my.cnf
    .git-credentials .gitcredentials .npmrc .pypirc .htpasswd .dockercfg .docker/config.json .vault-token
    .ssh/ .aws/ .azure/ .kube/ .ray/ .mlflow/ .gnupg/ .gcloud/ .config/gcloud/ .boto .s3cfg kubeconfig
    *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk *.gpg id_rsa* id_dsa* id_ed25519* id_ecdsa*
    credentials.json client_secret*.json *.tfstate
"""
_gathered, _secrets = (GitIgnoreSpec.from_lines(text.split()) for text in (GATHERED, SECRETS))
# Bytes and files; Ray keeps every job's folder in the memory of the cluster's head.
MOST_BYTES, MOST_FILES = 100 * 2**20, 10_000


class Rule(NamedTuple):
    """An ignore file: how late it is heard, the folder it is in, and what it says."""

    rank: int
    folder: PurePosixPath
    spec: GitIgnoreSpec


@dataclass
class Choice:
    """What of a working folder travels.

    Attributes:
        sizes: The chosen files' relative paths, and their sizes in bytes.
        secret: What was left out because it may hold a secret.
        ignored: How many files and folders an ignore file, or hpo itself, leaves out.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    secret: list[str] = field(default_factory=list)
    ignored: int = 0

    def left_out(self) -> str | None:
        """What was left out, in one sentence; None where nothing was."""
        parts = []
        if self.secret:
            more = f" and {len(self.secret) - 5} more" if len(self.secret) > 5 else ""
            parts.append(f"{', '.join(self.secret[:5])}{more} (may hold secrets)")
        if self.ignored:
            parts.append(f"{self.ignored} files and folders that are generated, linked, or in an ignore file")
        return f"left out: {'; '.join(parts)}" if parts else None


def pack(folder: Path, study_file: Path, package: Path) -> tuple[str, int, str | None]:
    """Writes a working folder's code and a study file into a zip file; the same content gives the same bytes.

    Args:
        folder: The working folder; ``.gitignore`` and ``.hpoignore`` in it, and in folders below, list what stays.
        study_file: Always included, wherever it is.
        package: The zip file to write.

    Returns:
        The study file's path in the package, how many files there are, and what was left out.

    Raises:
        InputError: When a link leads out of the folder, when an ignore file cannot be read, or when there is too much,
            naming the biggest files.
    """
    chosen = choose(folder)
    sizes = chosen.sizes
    inside = study_file.resolve().is_relative_to(folder.resolve())
    name = study_file.resolve().relative_to(folder.resolve()).as_posix() if inside else study_file.name
    if not inside and name in sizes:
        raise InputError(
            f"submit: {study_file} lies outside the working folder, which has a file {name} too; rename one of them",
            file=str(study_file),
        )
    if sum(sizes.values()) > MOST_BYTES:
        biggest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
        raise InputError(
            f"submit: the working folder {folder} holds {_megabytes(sum(sizes.values()))}, a job takes at most "
            f"{_megabytes(MOST_BYTES)}; list in .hpoignore what it does not need; the biggest are "
            + ", ".join(f"{name} ({_megabytes(size)})" for name, size in biggest),
            file=str(folder),
            value=sum(sizes.values()),
        )
    sources = {file: folder / file for file in sizes} | {name: study_file}
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for arcname, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(arcname)  # of no date
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = source.stat().st_mode << 16
            archive.writestr(entry, source.read_bytes())
    return name, len(sources), chosen.left_out()


def choose(folder: Path) -> Choice:
    """Chooses what travels. Links to folders are not followed; a link must not lead out of the folder."""
    top, chosen = folder.resolve(), Choice()
    rules: dict[PurePosixPath, list[Rule]] = {}
    for root, folders, files in os.walk(folder):
        here = PurePosixPath(Path(root).relative_to(folder).as_posix())
        found = [*rules.get(here.parent, []), *_ignore_files(folder, here)]
        rules[here] = sorted(found, key=lambda rule: rule.rank)
        kept = []
        for name in sorted(folders):
            path = folder / here / name
            if path.is_symlink() or (path / "pyvenv.cfg").exists():  # an environment, whatever its name
                chosen.ignored += 1
            elif _is_packed(top, here / name, rules[here], chosen, is_folder=True):
                kept.append(name)
        folders[:] = kept
        for name in sorted(files):
            path = folder / here / name
            if not path.is_file() or not _is_packed(top, here / name, rules[here], chosen, is_folder=False):
                continue
            if not path.resolve().is_relative_to(top):
                raise InputError(
                    f"submit: {here / name} is a link to {path.resolve()}, outside the working folder, and would be "
                    "sent; copy the file here, or list the link in .hpoignore",
                    file=str(here / name),
                    value=str(path.resolve()),
                )
            chosen.sizes[(here / name).as_posix()] = path.stat().st_size
            if len(chosen.sizes) > MOST_FILES:
                raise InputError(
                    f"submit: the working folder {folder} holds more than {MOST_FILES} files; "
                    "run it in your objective's folder, or list in .hpoignore what a job does not need",
                    file=str(folder),
                    value=len(chosen.sizes),
                )
    return chosen


def _is_packed(top: Path, path: PurePosixPath, rules: list[Rule], chosen: Choice, *, is_folder: bool) -> bool:
    """Whether a file or folder travels; notes in ``chosen`` why it does not."""
    slash = "/" if is_folder else ""
    target = (top / path).resolve()  # another name, where it is a link
    target = target.relative_to(top) if target.is_relative_to(top) else target.relative_to("/")
    if any(_secrets.match_file(f"{name}{slash}".lower()) for name in (path.as_posix(), target.as_posix())):
        chosen.secret.append(f"{path}{slash}")
        return False
    ignored = _gathered.match_file(f"{path}{slash}")
    for rule in rules:  # the last one that names it decides
        verdict = rule.spec.check_file(f"{path.relative_to(rule.folder)}{slash}").include
        ignored = ignored if verdict is None else verdict
    chosen.ignored += ignored
    return not ignored


def _ignore_files(folder: Path, here: PurePosixPath) -> Iterator[Rule]:
    for rank, name in enumerate(IGNORE_FILES):
        path = folder / here / name
        try:
            yield Rule(rank, here, GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"submit: {path} cannot be read: {error}", file=str(path)) from None
        except ValueError as error:
            raise InputError(f"submit: {name} in {path.parent}: {error}", file=str(path), rule=str(error)) from None


def _megabytes(size: float) -> str:
    return f"{size / 2**20:.1f} MB"
