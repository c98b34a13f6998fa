"""A real sshd on loopback, with keys of its own, for this user alone."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lanes import end, free_ports, install, until

CONF = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
"""


@dataclass
class Sshd:
    folder: Path
    port: int


@contextmanager
def sshd():
    install(("sshd", "ssh-keygen"), ("openssh-server", "openssh-client"))
    if not os.geteuid():
        Path("/run/sshd").mkdir(exist_ok=True)
    folder, (port,) = Path(tempfile.mkdtemp(prefix="mfstudy-sshd-")), free_ports(1)
    try:
        for name in ("host", "user", "stranger"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        (folder / "config").write_text(CONF.format(folder=folder, port=port))
        key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
        subprocess.run([shutil.which("sshd"), "-f", str(folder / "config"), "-E", str(folder / "log")], check=True)
        until((folder / "sshd.pid").exists, "sshd is up", 20)
        yield Sshd(folder, port)
    finally:
        end([folder / "sshd.pid"])
        shutil.rmtree(folder, ignore_errors=True)
