"""What a trial leaves in its folder becomes artifacts, whatever it is."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from stored import a_trial, mirror, runs

from hpo.study import Study
from hpo.tracking.mlflow.page import Page


def artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> Iterator[str]:
    for found in client.list_artifacts(run_id, path):
        if found.is_dir:
            yield from artifacts(client, run_id, found.path)
        else:
            yield found.path


def test_links_pipes_and_sockets_do_not_keep_files_out_of_mlflow(uri: str, study: Study, tmp_path: Path) -> None:
    """Lightning's link to its last checkpoint, say, when that checkpoint is gone."""
    trial = a_trial(0)
    mirror(uri, study, [trial])
    (tmp_path / "elsewhere").write_text("not the trial's")
    folder = tmp_path / "own"
    files = folder / "files"
    (files / "checkpoints").mkdir(parents=True)
    (folder / "output.log").write_text("said")
    (files / "checkpoints" / "2.ckpt").write_text("weights")
    (files / "last.ckpt").symlink_to("checkpoints/2.ckpt")
    (files / "gone.ckpt").symlink_to("checkpoints/1.ckpt")
    (files / "out").symlink_to(tmp_path / "elsewhere")
    (files / "latest").symlink_to("checkpoints")
    os.mkfifo(files / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(files):  # its whole path may be too long
        listening.bind("socket")

    Page(uri, study, "uid-1").attach_files(trial, folder)

    (child,) = runs(uri, study, "trial")
    client = MlflowClient(uri)
    found = {*artifacts(client, child.info.run_id)}
    assert found == {"output.log", "files/checkpoints/2.ckpt", "files/last.ckpt"}
    local = client.download_artifacts(child.info.run_id, "files/last.ckpt")
    assert Path(local).read_text() == "weights"
