"""A real Slurm on this machine: one node on the loopback interface, with keys, state and ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=5
MinJobAge=300
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mib}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def require_slurm() -> None:
    """Skip the test, with a reason, where Slurm cannot run."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        pytest.skip(f"needs Slurm (Debian: slurmctld slurmd slurm-client munge): no {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("needs root: a node of Slurm runs the tasks of all users")


@dataclass
class Slurm:
    """A running cluster.

    Attributes:
        folder: configuration, state and logs.
        daemons: processes of the cluster, by name.
    """

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The variables of a command of this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def start(self, name: str, *arguments: str) -> None:
        """Start a daemon in the foreground."""
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [program, *arguments], env=self.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def start_scheduler(self) -> None:
        """Start the scheduler, with the state of an earlier one, and wait until it answers."""
        self.start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        until(lambda: self.run("scontrol", "ping", check=False).find("is UP") >= 0, "slurmctld answers")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command of the cluster and return what it prints."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, script: Path) -> str:
        """Submit a script as its comment says, and return the number of its array."""
        return self.run("bash", str(script)).partition("array ")[2].split()[0]

    def states(self) -> dict[str, str]:
        """State of each job and task that Slurm remembers, by number, such as `7_2`."""
        lines = self.run("squeue", "-a", "-r", "-h", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def save(self, job: str) -> None:
        """Wait until the scheduler has saved its state with all that is true of a job now."""
        saved, asked = self.folder / "state" / "job_state", time.time()
        self.run("scontrol", "update", f"JobId={job}", "Comment=saved")  # a change: the reason to save
        until(lambda: saved.exists() and saved.stat().st_mtime > asked, "the scheduler has saved its state")

    def node(self) -> str:
        """State of the node, such as `idle`, `allocated` or `drained`; with `*` if it does not answer."""
        return self.run("sinfo", "-h", "-o", "%T").strip()

    def wait(self, timeout_s: float = 400) -> dict[str, str]:
        """Wait until no job waits or runs, and return the state of each."""
        open_states = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED"}
        until(lambda: not open_states & set(self.states().values()), "all jobs have ended", timeout_s)
        return self.states()

    def processes(self, words: str) -> list[int]:
        """The processes of the tasks whose command line has these words."""
        found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False).stdout.split()
        return [int(number) for number in found if _is_below(int(number), self.daemons["slurmd"].pid)]

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.run("scancel", "--user=root", "--signal=KILL", "--full", check=False)
        self.run("scancel", "--user=root", check=False)
        with suppress(AssertionError):  # a daemon that has ended already cannot say
            self.wait(20)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in reversed(self.daemons.values()):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start a cluster of one node with two CPUs; its folder is short, because a socket has a short name."""
    cluster = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = _free_ports(2)
    has = {"cpus": min(2, os.cpu_count() or 1), "memory_mib": psutil.virtual_memory().total * 9 // 10 // 2**20}
    text = CONFIG.format(host=socket.gethostname(), ports=ports, folder=folder, **has)  # a node with less is drained
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        at = [f"--{name}={folder}/munge.{name}" for name in ("socket", "log-file", "pid-file", "seed-file")]
        cluster.start("munged", "-F", "--force", f"--key-file={key}", *at)
        until((folder / "munge.socket").exists, "munged listens")
        cluster.start_scheduler()
        cluster.start("slurmd", "-D", "-f", str(folder / "slurm.conf"))
        until(lambda: cluster.node() == "idle", "the node is idle")
        yield cluster


def until(is_true: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait until something is true."""
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, f"waited {timeout_s} s in vain until {what}"
        time.sleep(0.1)


def kill(process: int) -> None:
    """End a process as a crash would."""
    os.kill(process, signal.SIGKILL)


def _is_below(process: int, ancestor: int) -> bool:
    """True if a process descends from another one, also through daemons that have set themselves apart."""
    try:
        while process > 1:
            with open(f"/proc/{process}/stat", encoding="utf-8") as stat:  # noqa: PTH123 - not a path of ours
                parent = int(stat.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{process}/cmdline", encoding="utf-8") as line:  # noqa: PTH123
                if parent == ancestor or "slurmstepd" in line.read():
                    return True
            process = parent
    except OSError:
        return False
    return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
