"""A folder of a trial as a stream of chunks, packed on a node and unpacked on the driver."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.execution.ray import nodes

LETTERS = "ab é.-" if sys.getfilesystemencoding() == "utf-8" else "ab .-"
NAMES = st.text(LETTERS, min_size=1, max_size=40).filter(lambda name: name.strip(". ") != "")


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=3000), max_size=6), st.integers(1, 2000))
def test_a_folder_arrives_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[str, str], bytes], size: int
) -> None:
    root = tmp_path_factory.mktemp("nodes")
    (root / "from" / "empty").mkdir(parents=True)
    for (folder, name), content in files.items():
        (root / "from" / f"d{folder}").mkdir(exist_ok=True)
        (root / "from" / f"d{folder}" / name).write_bytes(content)
    whole = b"".join(nodes.pack(root / "from"))
    chunks = (whole[start : start + size] for start in range(0, len(whole), size))
    nodes.unpack(chunks, root / "into", pytest.fail)
    assert content_of(root / "into") == content_of(root / "from")


def content_of(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_links_within_the_folder_arrive_and_what_leads_out_does_not(tmp_path: Path) -> None:
    folder, remarks = tmp_path / "from", list[str]()
    (folder / "sub").mkdir(parents=True)
    (folder / "model").write_text("m")
    (folder / "model").chmod(0o4755)
    os.link(folder / "model", folder / "same")
    (folder / "sub" / "best").symlink_to("../model")
    (folder / "out").symlink_to("/etc/hostname")
    (folder / "up").symlink_to("../secret")
    os.mkfifo(folder / "pipe")
    nodes.unpack(nodes.pack(folder), tmp_path / "into", remarks.append)
    assert {*content_of(tmp_path / "into")} == {"model", "same", "sub", "sub/best"}
    assert (tmp_path / "into/sub/best").read_text() == (tmp_path / "into/same").read_text() == "m"
    assert not (tmp_path / "into/model").stat().st_mode & stat.S_ISUID
    (remark,) = remarks
    assert remark.endswith("because they lead out of the trial's folder or are special files: 'out', 'pipe', 'up'")


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    file, remarks = io.BytesIO(), list[str]()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("../outside", "a/../../outside", str(tmp_path / "outside"), "inside"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    nodes.unpack(iter([file.getvalue()]), tmp_path / "trial" / "files", remarks.append)
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "trial" / "outside").exists()
    assert (tmp_path / "trial" / "files" / "inside").read_bytes() == b"x"
    assert "outside" in remarks[0]


def test_a_file_that_shrinks_or_vanishes_meanwhile_harms_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(name.encode() * 2000)

    def sent() -> Iterator[bytes]:
        parts = nodes.pack(folder)
        yield next(parts)  # the heading of a
        (folder / "a").write_bytes(b"a")
        yield next(parts)
        (folder / "b").unlink()
        yield from parts

    nodes.unpack(sent(), tmp_path / "into", pytest.fail)
    assert (tmp_path / "into" / "a").read_bytes() == b"a" + bytes(1999)
    assert not (tmp_path / "into" / "b").exists()
    assert (tmp_path / "into" / "c").read_bytes() == b"c" * 2000


@pytest.mark.parametrize("end", [None, OSError("the node is gone"), tarfile.ReadError("no archive")])
def test_a_folder_appears_as_a_whole_or_not_at_all(end: Exception | None, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "model").write_bytes(bytes(9000))

    def sent() -> Iterator[bytes]:
        yield b"".join(nodes.pack(tmp_path / "from"))[:2000]
        if end is not None:
            raise end

    with pytest.raises(tarfile.ReadError if end is None else type(end)):
        nodes.unpack(sent(), tmp_path / "trial" / "files", pytest.fail)
    assert list((tmp_path / "trial").iterdir()) == []


def test_a_node_s_folders_are_this_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, folder = nodes.new("uid")
    assert stat.S_IMODE(folder.parents[1].stat().st_mode) == 0o700
    folder.parents[1].rename(tmp_path / "moved")
    folder.parents[1].symlink_to(tmp_path / "moved")
    with pytest.raises(PermissionError, match="belongs to another user: set TMPDIR"):
        nodes.new("uid")


def test_a_folder_is_shared_where_the_mark_of_its_study_is(tmp_path: Path) -> None:
    folder = str(tmp_path / "3" / "files")
    assert not nodes.shared(folder, "one")
    (tmp_path / ".study").write_text("one")
    assert nodes.shared(folder, "one")
    assert not nodes.shared(folder, "two")
