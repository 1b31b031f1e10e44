"""A real SLURM on this machine, without systemd: munge, accounting in MariaDB, a controller and several nodes.

    python tests/slurm/cluster.py COMMAND ...    # runs a command, a shell for one, beside such a cluster

Everything lies in one new folder, on ports of its own, and nothing is left running: the daemons stop with the process
that started them, however that ends.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from configuration import ACCOUNT, NODES, Ports, free_ports, write_configuration
from processes import DYING_WITH_US, kill_all

PATIENCE_S = 180.0
GRACE_S = 5.0  # that daemons have to end by themselves
MARK = "ICSD_TEST_CLUSTER"  # in the environment of all that belongs to a cluster, its jobs included
NODE_MARK = "ICSD_TEST_NODE"  # and of all that belongs to a node


@dataclass
class Cluster:
    """A cluster that runs, and what stops it."""

    folder: Path
    ports: Ports
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a shell on the login node."""
        slurm = {"SLURM_CONF": str(self.folder / "slurm.conf"), MARK: str(self.folder)}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        own = [str(self.folder / "bin"), str(Path(sys.executable).parent)]  # the latter, as in an activated .venv
        path = os.pathsep.join([*own, os.environ["PATH"], "/usr/sbin", "/sbin"])
        return inherited | slurm | {"PATH": path}

    def run(self, *command: str) -> str:
        """Return the output of a SLURM command, which must succeed."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True
        ).stdout

    def start(self) -> None:
        """Start everything, and wait until every node is idle."""
        write_configuration(self.folder, self.ports, str(shutil.which("srun")))
        self._start_munge()
        self._start_accounting()
        self._daemon("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        self.wait(self._is_registered)
        self.run("sacctmgr", "-i", "add", "account", ACCOUNT)
        self.run("sacctmgr", "-i", "add", "user", getpass.getuser(), f"account={ACCOUNT}")
        self.wait(lambda: set(self.run("sinfo", "-hN", "-o", "%T").split()) == {"idle"})

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._daemon(node, "slurmd", "-D", "-s", "-N", node, mark={NODE_MARK: node})

    def kill_node(self, node: str) -> None:
        """A node loses its power: its daemon and its jobs' processes are gone at once."""
        daemon = self.daemons.pop(node)
        kill_all({NODE_MARK: node}, {"SLURMD_NODENAME": node}, within={MARK: str(self.folder)})
        daemon.wait()

    def stop(self) -> None:
        """End all that belongs to the cluster, jobs included."""
        asked = [daemon for name, daemon in self.daemons.items() if name != "munged"]
        for daemon in asked:
            daemon.terminate()
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(daemon.poll() is None for daemon in asked):
            time.sleep(0.1)
        kill_all({MARK: str(self.folder)})
        for daemon in self.daemons.values():
            daemon.wait()

    def wait(self, seen: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        """Wait until something is seen; a daemon that ends meanwhile is an error."""
        deadline = time.monotonic() + seconds
        while not seen():
            for name, daemon in self.daemons.items():
                if daemon.poll() is not None:
                    raise RuntimeError(f"{name} ended with {daemon.returncode}:\n{self._said(name)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not seen in {seconds:.0f} s; the logs are in {self.folder / 'log'}")
            time.sleep(0.1)

    def _start_munge(self) -> None:
        socket, key = self.folder / "munge.socket", self.folder / "munge.key"
        files = [f"--{kind}-file={self.folder / f'munge.{kind}'}" for kind in ("pid", "seed", "log")]
        self._daemon("munged", "munged", "--foreground", f"--socket={socket}", f"--key-file={key}", *files)
        self.wait(socket.exists)

    def _start_accounting(self) -> None:
        port, data = self.ports.mariadbd, self.folder / "database"
        where = ("--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}")
        self.run("mariadb-install-db", *where, "--skip-test-db", "--skip-name-resolve")
        files = (f"--socket={data}.socket", f"--init-file={data}.sql", "--innodb-flush-log-at-trx-commit=0")
        self._daemon("mariadbd", "mariadbd", *where, *files, "--bind-address=127.0.0.1", f"--port={port}")
        self.wait(lambda: _listens(port))
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self.wait(lambda: _listens(self.ports.slurmdbd))

    def _is_registered(self) -> bool:
        """Return whether the controller has registered with the accounting."""
        return "icsd" in self.run("sacctmgr", "-n", "show", "cluster", "format=cluster")

    def _daemon(self, name: str, *command: str, mark: dict[str, str] | None = None) -> None:
        """Start one in a session of its own, which Ctrl-C does not reach; it ends when this process does."""
        environment = self.environment | (mark or {})
        with (self.folder / "log" / f"{name}.said").open("wb") as said:
            self.daemons[name] = subprocess.Popen(
                [*DYING_WITH_US, *command], env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip

    def _said(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.said").read_text()[-2000:]


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster that runs until the block is left, and its folder until then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as Ctrl-C does
    with tempfile.TemporaryDirectory(prefix="icsd-slurm-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), free_ports())
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    with running_cluster() as running:
        command = sys.argv[1:] or [os.environ.get("SHELL", "/bin/sh")]
        code = subprocess.run(command, env=running.environment, check=False).returncode
    sys.exit(code)
