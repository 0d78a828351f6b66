"""Downloading MNIST, from a server of this machine: whatever goes wrong, a file with its name is right."""

import contextlib
import gzip
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import small_mnist

from trainer import data, fetch
from trainer.data import DataError, mnist
from trainer.fetch import fetch_mnist


class Server:
    """Serves files from memory and counts the requests; `hold` makes it stop half-way through each file."""

    def __init__(self) -> None:
        self.files = dict(small_mnist.FILES)
        self.requests: list[str] = []
        self.hold = False
        self.halfway, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/mnist/")
                outer.requests.append(name)
                content = outer.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                if "gzip" in self.headers.get("Accept-Encoding", ""):  # some servers have the client unpack such files
                    self.send_header("Content-Encoding", "gzip")
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client that is killed
                    self.wfile.write(content[: len(content) // 2])
                    if outer.hold:
                        outer.halfway.set()
                        outer.go_on.wait(60)
                    self.wfile.write(content[len(content) // 2 :])

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.01])
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/mnist"

    def close(self) -> None:
        self.go_on.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def make_server() -> Iterator[Callable[[], Server]]:
    with contextlib.ExitStack() as stack:

        def make() -> Server:
            server = Server()
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def server(make_server: Callable[[], Server]) -> Server:
    return make_server()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return small_mnist.install(monkeypatch, tmp_path)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_a_fetch_brings_all_four_files(folder: Path, server: Server) -> None:
    assert fetch_mnist(server.url) == folder
    assert names(folder) == set(small_mnist.NAMES)
    assert len(data.load_train("mnist").t) == 50
    assert len(data.load_test("mnist").t) == 20


def test_what_is_there_and_right_is_not_downloaded_again(folder: Path, server: Server) -> None:
    fetch_mnist(server.url)
    server.requests.clear()
    fetch_mnist(server.url)
    assert server.requests == []
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    fetch_mnist(server.url)
    assert server.requests == ["t10k-labels-idx1-ubyte.gz"]


def test_a_complete_folder_is_not_written_to(folder: Path, server: Server) -> None:
    small_mnist.write(folder)
    fetch_mnist(server.url)
    assert {path.name for path in folder.iterdir()} == set(small_mnist.NAMES)


def test_another_compression_of_the_same_content_is_right(folder: Path, server: Server) -> None:
    server.files = {name: gzip.compress(content, 1) for name, content in small_mnist.CONTENTS.items()}
    fetch_mnist(server.url + "/")
    server.requests.clear()
    fetch_mnist(server.url)
    assert server.requests == []
    assert len(data.load_train("mnist").t) == 50


def test_a_wrong_file_is_named_and_replaced(folder: Path, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    small_mnist.write(folder)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(small_mnist.FILES["t10k-labels-idx1-ubyte.gz"])
    fetch_mnist(server.url)
    assert server.requests == ["train-labels-idx1-ubyte.gz"]
    (said,) = caplog.messages
    assert said.startswith(f"{folder / 'train-labels-idx1-ubyte.gz'}: holds the content of t10k-labels-idx1-ubyte.gz")
    assert said.endswith("downloading it again")
    assert len(data.load_train("mnist").t) == 50


def test_a_file_url_is_a_mirror(folder: Path, tmp_path: Path) -> None:
    small_mnist.write(tmp_path / "a copy")
    fetch_mnist((tmp_path / "a copy").as_uri())
    assert names(folder) == set(small_mnist.NAMES)


@pytest.mark.parametrize(
    "mirror",
    ["", "/data/mnist", "ftp://host/mnist", "http://", "http://[half", "s3://bucket/mnist", "localhost:80"],
)
def test_a_mirror_that_is_no_address_is_refused(folder: Path, mirror: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch_mnist(mirror)
    assert str(caught.value) == f"`mirror` must be an http, https or file URL, but got {mirror!r}"
    assert not folder.exists()


def test_the_next_mirror_serves_when_one_fails_and_is_then_the_first(
    folder: Path, make_server: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, damaged, good = make_server(), make_server(), make_server()
    empty.files = {}
    damaged.files = {name: content[:-9] for name, content in small_mnist.FILES.items()}
    monkeypatch.setattr(fetch, "MIRRORS", (empty.url, damaged.url, good.url))
    fetch_mnist()
    assert empty.requests == damaged.requests == ["train-images-idx3-ubyte.gz"]
    assert good.requests == list(small_mnist.NAMES)
    assert names(folder) == set(small_mnist.NAMES)


def test_when_all_mirrors_fail_one_error_tells_why_each_did(
    folder: Path, make_server: Callable[[], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty, swapped = make_server(), make_server()
    empty.files = {}
    swapped.files["train-images-idx3-ubyte.gz"] = small_mnist.FILES["train-labels-idx1-ubyte.gz"]
    closed = Server()
    closed.close()
    nothing = (tmp_path / "nothing").as_uri()
    monkeypatch.setattr(fetch, "MIRRORS", (empty.url, swapped.url, closed.url, nothing))
    with pytest.raises(DataError) as caught:
        fetch_mnist()
    first, *faults = str(caught.value).splitlines()
    assert first == f"train-images-idx3-ubyte.gz could not be downloaded into {folder}"
    assert faults[0].startswith(f"  {empty.url}: 404 Client Error")
    assert faults[1] == f"  {swapped.url}: holds the content of train-labels-idx1-ubyte.gz (files swapped?)"
    assert faults[2].startswith(f"  {closed.url}: ")
    assert "refused" in faults[2]
    assert faults[3].startswith(f"  {nothing}: ")
    assert "No such file" in faults[3]
    assert names(folder) == set()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_file_that_is_too_large_is_not_downloaded(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    monkeypatch.setattr(fetch, "LARGEST", 1 << 18)
    name = "train-images-idx3-ubyte.gz"
    server.files[name] = bytes(1 << 22)
    (tmp_path / name).write_bytes(server.files[name])
    with pytest.raises(DataError, match=r"the file has more than 262144 bytes, which none of MNIST has"):
        fetch_mnist(server.url if scheme == "http" else tmp_path.as_uri())
    assert names(folder) == set()


def test_a_failed_replacement_leaves_the_file_that_was_there(folder: Path, server: Server) -> None:
    small_mnist.write(folder)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"mine")
    server.files = {}
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch_mnist(server.url)
    assert (folder / "train-images-idx3-ubyte.gz").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_an_error(folder: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the folder's place")
    with pytest.raises(DataError, match=rf"{folder}: cannot be written \(Not a directory\)"):
        fetch_mnist(server.url)
    assert server.requests == []


def test_a_killed_download_leaves_no_file_and_the_next_fetch_cleans_up(folder: Path, server: Server) -> None:
    server.hold = True
    code = f"{small_mnist.PREAMBLE}\nfrom trainer.fetch import fetch_mnist\nfetch_mnist({server.url!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        assert server.halfway.wait(60)
    finally:
        process.kill()
        process.wait()
    assert names(folder) == {".train-images-idx3-ubyte.gz.part"}
    (folder / "train-images-idx3-ubyte.gz").write_bytes(small_mnist.FILES["train-images-idx3-ubyte.gz"])
    server.hold = False
    server.go_on.set()
    fetch_mnist(server.url)
    assert names(folder) == set(small_mnist.NAMES)
    assert len(data.load_train("mnist").t) == 50


def test_two_downloads_at_once_take_turns(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.hold = True
    waiting = threading.Event()
    monkeypatch.setattr(fetch._log, "warning", lambda *message: waiting.set())
    first, second = (threading.Thread(target=fetch_mnist, args=[server.url]) for _ in range(2))
    first.start()
    try:
        assert server.halfway.wait(60)
        second.start()
        assert waiting.wait(60)
    finally:
        server.go_on.set()
        first.join()
        second.join()
    assert server.requests == list(small_mnist.NAMES)
    assert names(folder) == set(small_mnist.NAMES)


@pytest.mark.parametrize("progress", [True, False])
def test_a_progress_bar_is_shown_on_request(
    folder: Path, server: Server, capfd: pytest.CaptureFixture[str], progress: bool
) -> None:
    fetch_mnist(server.url, progress=progress)
    out, err = capfd.readouterr()
    assert out == ""
    assert [name in err for name in small_mnist.NAMES] == [progress] * 4


@pytest.mark.mnist
def test_the_real_files_are_fetched_verified_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = mnist.folder().as_uri()
    monkeypatch.setenv("HPO_DATA_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fetch_mnist(mirror) == tmp_path / "new" / "mnist"
    assert len(data.load_train("mnist", 300).t) == 300
    assert len(data.load_test("mnist").t) == 10_000
