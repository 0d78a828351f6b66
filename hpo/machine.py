"""This machine: cores that may be used, folders behind paths, files written whole, and streams that may be broken."""

from __future__ import annotations

import io
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote

from hpo.errors import InputError

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def expand(path: str) -> str:
    """A path with ``~`` and ``$NAME`` replaced, as a shell does; the one place that does it."""
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 -- a Path would turn http:// into http:/


def absolute(path: str | Path) -> Path:
    """A path that stays the same when the working folder changes."""
    return Path(expand(str(path))).absolute()


def absolute_uri(uri: str) -> str:
    """A tracking store's address of which this is true too: ``sqlite:///PATH``, a folder, or a server's address."""
    if not scheme_of(uri):
        return uri if uri in ("", "none", "databricks") else str(absolute(uri))
    if not uri.startswith("sqlite:///") or uri == "sqlite:///:memory:":
        return uri
    path, question, options = uri.removeprefix("sqlite:///").partition("?")
    return f"{sqlite_uri(sqlite_path(uri))}{question}{options}" if path else uri


def scheme_of(uri: str) -> str:
    """What stands before the first ``:`` of an address, in lower case; empty for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", uri)
    return found[1].lower() if found else ""


def sqlite_path(uri: str) -> Path:
    """The file of a tracking store's address ``sqlite:///PATH``, absolute."""
    return absolute(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


def without_database(uri: str) -> bool:
    """Whether the file of a tracking store's address ``sqlite:///PATH`` is not there; MLflow would make it."""
    return uri.startswith("sqlite:///") and not sqlite_path(uri).exists()


def sqlite_uri(path: str | Path) -> str:
    """The address of a file: what means something else in an address is quoted."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, all of it or nothing, in place of an older one.

    Raises:
        OSError: When it cannot be written.
    """
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


@contextmanager
def working_folder() -> Iterator[None]:
    """Keeps the working folder, whatever becomes of it in the block: changed, moved, deleted, or made anew."""
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        path: str | int = os.getcwd()  # noqa: PTH109 -- as `chdir` takes it
    except FileNotFoundError:  # it is gone already
        path = here
    try:
        yield
    finally:
        try:
            os.chdir(path)
        except OSError:
            with suppress(OSError):  # it may not be entered any more; then this process stays where it is
                os.chdir(here)
        os.close(here)


@contextmanager
def variables(given: Mapping[str, str | None]) -> Iterator[None]:
    """Sets environment variables of this process during the block; None removes one."""
    before = {name: os.environ.get(name) for name in given}
    _set(given)
    try:
        yield
    finally:
        _set(before)


def _set(given: Mapping[str, str | None]) -> None:
    for name, value in given.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def no_port(host: str, port: int, error: OSError) -> InputError:
    """The error that a port cannot be listened on; asyncio and Python add words of their own to the system's."""
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
    rule = f"cannot listen on {host}:{port}: {why}; choose another --port"
    return InputError.about("--port", rule, port)


def normalize_environment() -> None:
    """Makes environment variables mean the same in this process and in every other that it starts.

    ``HPO_DATA_DIR`` becomes absolute: workers have working folders of their own. This machine is never reached through
    a proxy.
    """
    if folder := os.environ.get("HPO_DATA_DIR"):
        os.environ["HPO_DATA_DIR"] = str(absolute(folder))
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        hosts = [host.strip() for host in direct.split(",") if host.strip()]
        if "*" not in hosts:
            hosts += [host for host in LOOPBACK if host not in hosts]
            os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


def usable_cores(root: Path = Path("/")) -> int:
    """How many cores this process may use: those of its affinity mask, within its container's quota; at least 1.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> list[float]:
    """The quotas, in cores, of this process's control group and of all groups around it (versions 1 and 2)."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup"
        if controllers:
            base /= "cpu" if (base / "cpu").exists() else controllers
        folder = base / group.lstrip("/")
        # In a container the group's path may be the host's, of which only the top is there.
        for at in {base, folder, *(parent for parent in folder.parents if parent.is_relative_to(base))}:
            if controllers:
                words = [_read(at / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]
            else:
                words = _read(at / "cpu.max").split()
            if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
                found.append(int(words[0]) / int(words[1]))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class _NeverFails(io.FileIO):
    """A file whose writes never fail: what cannot be shown must not end a search."""

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        with suppress(OSError):  # a full disk, a closed pipe, a terminal that is gone
            while left:  # a pipe may take a part
                left = left[super().write(left) or len(left) :]
        return len(data)


def lenient(descriptor: int, like: TextIO) -> TextIO:
    """A stream to a descriptor that takes any character, writes line by line, and never fails.

    It has no buffer of bytes: that refuses what the handler of a signal writes while another write is on its way.
    """
    raw: Any = _NeverFails(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding=like.encoding, errors="backslashreplace", line_buffering=True)
