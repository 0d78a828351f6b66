"""A program that kills the worker that called it, in its first attempt at every third trial."""

# It has written something into its folder by then, and a checkpoint that tells the next attempt.
BEGINNING = """
import json, os, pathlib, signal, time
params = json.loads(os.environ["HPO_PARAMS"])
folder, trial = pathlib.Path(os.environ["HPO_FOLDER"]), int(os.environ["HPO_TRIAL"])
first = pathlib.Path(os.environ["HPO_CHECKPOINT"]) / "first"
if trial % 3 == 1 and not first.exists():
    first.touch()
    (folder / "rubbish").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
time.sleep(0.3)
(folder / "model").write_text(str(params["lr"]))
"""
END = """print(json.dumps({"loss": params["lr"]}), flush=True)
"""
