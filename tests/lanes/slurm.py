"""A real Slurm on this machine: munged, slurmctld and two slurmd, all on loopback, without systemd or cgroups."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from lanes import end, free_ports, install, until

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

CONF = """ClusterName=lane
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=lane Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster that is up.

    `folder` holds everything; `environment` makes Slurm's commands speak to it.
    """

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __call__(self, *words, **options):
        """Run a command of Slurm, return what it prints."""
        ended = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60, check=True, **options
        )
        return ended.stdout.strip()

    def jobs(self, state="R"):
        """Return the ids of the jobs in a state."""
        return self("squeue", "-h", "-r", "-t", state, "-o", "%i").split()

    def idle(self):
        return self("sinfo", "-h", "-N", "-o", "%t").split() == ["idle", "idle"]


@contextmanager
def slurm():
    install(PROGRAMS, PACKAGES)
    folder = Path(tempfile.mkdtemp(prefix="mfstudy-slurm-"))
    folder.chmod(0o755)  # munge wants its socket where everybody may look
    lane = Slurm(folder)
    try:
        _start(lane)
        until(lane.idle, "both nodes idle", 60)
        yield lane
    finally:
        _stop(lane)


def _start(lane):
    folder, host = lane.folder, socket.gethostname().split(".")[0]
    for name in ("munge", "run", "state", "log", "spool", "spool/n1", "spool/n2"):
        (folder / name).mkdir(mode=0o700 if name == "munge" else 0o755)
    (folder / "munge/key").write_bytes(secrets.token_bytes(128))
    (folder / "munge/key").chmod(0o400)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "slurm.conf").write_text(CONF.format(host=host, user=user, folder=folder, ports=free_ports(3)))
    files = {"key-file": "munge/key", "socket": "run/munge.sock", "pid-file": "run/munged.pid"}
    files |= {"log-file": "munge/log", "seed-file": "munge/seed"}
    lane("munged", *(f"--{key}={folder / value}" for key, value in files.items()))
    lane("slurmctld", "-c")
    for node in ("n1", "n2"):
        lane("slurmd", "-N", node, "-c")


def _stop(lane):
    subprocess.run(["scancel", "--user", str(os.getuid())], env=lane.environment, capture_output=True, timeout=60)
    run = lane.folder / "run"
    end([*run.glob("slurmd-*.pid"), run / "slurmctld.pid", run / "munged.pid"])
    shutil.rmtree(lane.folder, ignore_errors=True)
