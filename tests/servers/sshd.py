"""OpenSSH's own server, unprivileged or as root, with keys of its own; and a client configuration that knows it."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

from tests.servers.process import ServerProcess

SERVER = """
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv GIT_PROTOCOL
SetEnv PATH={folder}/bin:{path} GIT_CONFIG_NOSYSTEM=1
"""
CLIENT = """
Host *
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


class Sshd:
    """``url(path)`` is a repository there; ``command`` is the ssh that may log in; programs in ``bin`` can be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name in ("host_key", "user_key", "other_key"):
            self.new_key(name)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(SERVER.format(folder=folder, path=os.environ["PATH"]))
        (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian makes it when the service starts
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program, "sshd is missing: apt-get install openssh-server"
        self.process = ServerProcess(
            lambda port: [program, "-D", "-e", "-f", str(folder / "sshd_config"), "-p", str(port)], folder / "log"
        )
        self.trust("host_key")

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def command(self) -> str:
        return f"ssh -F {self.folder}/ssh_config"

    def url(self, path: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.process.port}{path}"

    def new_key(self, name: str) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)

    def trust(self, name: str | None) -> None:
        """Make this key the one that the client has for the host, or none."""
        key = (self.folder / f"{name}.pub").read_text() if name else ""
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.process.port} {key}" if key else "")

    def allow(self, name: str) -> None:
        """Let the owner of this key in, and nobody else."""
        shutil.copy(self.folder / f"{name}.pub", self.folder / "authorized_keys")

    def install(self, name: str, script: str) -> None:
        """Put a program onto the host."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def close(self) -> None:
        self.process.close()
