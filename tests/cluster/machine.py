"""A host inside this one: mount, process, network, IPC and host-name namespaces of its own, with Podman in it.

Whatever is started there (containers, bridges, packet filters, mounts) ends with its first process, so a failed test
leaves nothing behind. Images are kept in a store that outlives it; containers and volumes are not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TOOLS = ("podman", "crun", "catatonit", "iptables", "ip", "mmdebstrap", "unshare", "nsenter", "setpriv")
NETWORK = ("netavark", "aardvark-dns")
# A host outside, and the machine's address on the cable between them.
OUTSIDE, INSIDE = "198.51.100.1", "198.51.100.2"

SPACES = ("--mount", "--pid", "--ipc", "--uts", "--net")

# The first process: a cgroup tree that Podman understands, a /run of its own, and beside it a host that is outside.
BOOT = """
set -e
mount --make-rprivate /
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mkdir -p /run/netns /run/lock
hostname machine
ip link set lo up
sysctl -q -w net.ipv4.ip_forward=1
unshare --net sh -c 'echo $$; exec sleep infinity' &
exec catatonit -P
"""
CONTAINERS = """
[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def lacking() -> str | None:
    """Why there can be no such machine here; None when there can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, for namespaces of its own"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    absent += [tool for tool in NETWORK if not Path("/usr/lib/podman", tool).exists()]
    return f"needs {', '.join(absent)}" if absent else None


class Machine:
    """The host; :meth:`close` ends it.

    Args:
        images: A folder that keeps images from one machine to the next; one machine at a time may use it.
    """

    def __init__(self, images: Path) -> None:
        self.images = images
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-machine-", dir="/var/tmp"))
        self._configure()
        self._process = subprocess.Popen(
            # Ends also when the tests are killed: with this process its child, and with that all of its processes.
            [
                "setpriv",
                "--pdeathsig=KILL",
                "unshare",
                *SPACES,
                "--fork",
                "--kill-child",
                "--mount-proc",
                "bash",
                "-c",
                BOOT,
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        try:
            said = self._process.stdout.readline()
            if not said:
                raise RuntimeError("the machine does not start")
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            self.pid = int(children.split()[0])
            self._outside = f"nsenter --net=/proc/{said.strip()}/ns/net".split()
            self._connect(said.strip())
        except BaseException:
            self.close()
            raise

    def _configure(self) -> None:
        self.images.mkdir(parents=True, exist_ok=True)
        store = '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\n'
        (self.folder / "containers.conf").write_text(CONTAINERS)
        (self.folder / "build.conf").write_text(f'{store}graphroot = "{self.images}"\n')
        (self.folder / "storage.conf").write_text(
            f'{store}graphroot = "{self.folder}/containers"\n'
            f'[storage.options]\nadditionalimagestores = ["{self.images}"]\n'
        )

    def _connect(self, outside: str) -> None:
        """A cable between the machine and the host that stands for the rest of the world."""
        for words in (
            f"ip link add eth0 type veth peer name eth0 netns {outside}",
            f"ip addr add {INSIDE}/24 dev eth0",
            "ip link set eth0 up",
        ):
            self.run(*words.split())
        for words in (f"ip addr add {OUTSIDE}/24 dev eth0", "ip link set eth0 up"):
            self.run_outside(*words.split())

    def run_outside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on the host outside."""
        return self.run(*self._outside, *command)

    def unplug(self) -> None:
        """From now on nobody asks the name servers around this machine, which it does not reach anyway."""
        resolver = self.folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\n")
        self.run("mount", "--bind", str(resolver), "/etc/resolv.conf")

    def environment(self, *, building: bool = False) -> dict[str, str]:
        conf = "build.conf" if building else "storage.conf"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/{conf}",
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(
        self,
        *command: str,
        check: bool = True,
        timeout: float = 120,
        cwd: Path | None = None,
        online: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the machine; ``online`` with the network of the host around it."""
        done = subprocess.run(
            self.inside(command, cwd=cwd, online=online),
            env=environment or self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def inside(self, command: Sequence[str], *, cwd: Path | None = None, online: bool = False) -> list[str]:
        """The command line that runs a command in the machine."""
        spaces = SPACES[:-1] if online else SPACES
        return ["nsenter", f"--target={self.pid}", *spaces, "env", f"--chdir={cwd or self.folder}", *command]

    def close(self) -> None:
        """Ends every process in the machine, and with them its network and mounts."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # --kill-child: the first process goes too, and all below it
            self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        deadline = time.monotonic() + 30
        while True:  # a process that is ending may hold its files for a moment
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.folder} cannot be removed")
            time.sleep(0.2)
