"""Configuration of the daemons of a SLURM on one machine. All paths lie in one folder, and each port is free."""

import getpass
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

CPU_NODES = ("c1", "c2", "c3")
GPU_NODES = ("g1", "g2")
SPARE_NODES = ("d1", "d2")  # no other job is there: tests may take one down
PREEMPTED_NODE = "p1"  # of the partition scavenger, whose jobs make room for those of the partition urgent
NODES = (*CPU_NODES, *GPU_NODES, *SPARE_NODES, PREEMPTED_NODE)
GPUS = 2  # of a GPU node; faked
ACCOUNT = "lab"

SLURM = """\
ClusterName=icsd
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd-%n
SwitchType=switch/none
MpiDefault=none
# without cgroups, which a container has not got: jobs are known by their processes' parents, and memory is looked at
# every second instead of being enforced by the kernel
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# nodes may have more processors and memory than the machine
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=3
MinJobAge=300
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
"""
NODE = (
    "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=64000 State=UNKNOWN{gres}\n"
)
PARTITION = "PartitionName={name} Nodes={nodes} MaxTime={limit} State=UP{more}\n"

SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser={user}
LogFile={folder}/log/slurmdbd
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadbd}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""
DATABASE = """\
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
"""
# the job step throws SLURM_CONF away before it calls srun, which would then look into /etc/slurm
SRUN = """\
#!/bin/sh
export SLURM_CONF={folder}/slurm.conf
exec {srun} "$@"
"""


@dataclass(frozen=True)
class Ports:
    """One of each daemon that listens."""

    slurmctld: int
    slurmdbd: int
    mariadbd: int
    nodes: tuple[int, ...]


def free_ports() -> Ports:
    """Ports that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3 + len(NODES))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        first, second, third, *nodes = (each.getsockname()[1] for each in sockets)
    return Ports(first, second, third, tuple(nodes))


def write_configuration(folder: Path, ports: Ports, srun: str) -> None:
    """All files that the daemons read, and the folders that they write into."""
    for name in ("log", "state", "database", "bin", "dev", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    known = {
        "folder": folder,
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "password": secrets.token_hex(16),
        "slurmctld": ports.slurmctld,
        "slurmdbd": ports.slurmdbd,
        "mariadbd": ports.mariadbd,
        "srun": srun,
    }
    _write(folder / "munge.key", secrets.token_bytes(128), 0o600)
    _write(folder / "slurm.conf", SLURM.format(**known) + "".join(_nodes(ports)) + "".join(_partitions()))
    _write(folder / "slurmdbd.conf", SLURMDBD.format(**known), 0o600)
    _write(folder / "gres.conf", _gpus(folder))
    _write(folder / "database.sql", DATABASE.format(**known), 0o600)
    _write(folder / "bin" / "srun", SRUN.format(**known), 0o755)


def _nodes(ports: Ports) -> Iterator[str]:
    for node, port in zip(NODES, ports.nodes, strict=True):
        gres = f" Gres=gpu:fake:{GPUS}" if node in GPU_NODES else ""
        yield NODE.format(node=node, host=socket.gethostname(), port=port, gres=gres)


def _partitions() -> Iterator[str]:
    yield PARTITION.format(name="cpu", nodes=",".join(CPU_NODES), limit="1-00:00:00", more=" Default=YES")
    yield PARTITION.format(name="gpu", nodes=",".join(GPU_NODES), limit="2-00:00:00", more="")
    yield PARTITION.format(name="spare", nodes=",".join(SPARE_NODES), limit="1:00:00", more="")
    yield PARTITION.format(name="scavenger", nodes=PREEMPTED_NODE, limit="1:00:00", more=" PriorityTier=1")
    yield PARTITION.format(name="urgent", nodes=PREEMPTED_NODE, limit="1:00:00", more=" PriorityTier=9 PreemptMode=OFF")


def _gpus(folder: Path) -> str:
    """gres.conf; a job gets CUDA_VISIBLE_DEVICES only where the files are devices, so they are links to one."""
    for number in range(GPUS):
        (folder / "dev" / f"gpu{number}").symlink_to("/dev/null")
    files = f"{folder}/dev/gpu[0-{GPUS - 1}]"
    rows = [f"NodeName={node} Name=gpu Type=fake Flags=nvidia_gpu_env File={files}\n" for node in GPU_NODES]
    return "AutoDetect=off\n" + "".join(rows)


def _write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    path.touch(mode=mode)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)  # whatever the umask
