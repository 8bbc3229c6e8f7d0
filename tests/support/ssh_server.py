"""A real sshd on the loopback interface of a machine of its own, which its user reaches as `server`."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.box import HOME, Box

needs_sshd = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin") is None, reason="needs sshd: apt install openssh-server"
)


@contextmanager
def ssh_server(machine: Box) -> Iterator[None]:
    """Serve as long as the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ssh = machine.home / ".ssh"
    ssh.mkdir(mode=0o700)
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / name], check=True)
    (ssh / "authorized_keys").write_text((ssh / "id.pub").read_text())
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {(ssh / 'host.pub').read_text()}")
    (ssh / "config").write_text(f"Host server\n HostName 127.0.0.1\n Port {port}\n User pat\n IdentityFile ~/.ssh/id\n")
    settings = f"Port {port}\nListenAddress 127.0.0.1\nHostKey {HOME}/.ssh/host\nUsePAM no\nStrictModes no\n"
    (ssh / "sshd_config").write_text(settings + "AuthorizedKeysFile .ssh/authorized_keys\nPidFile none\n")
    with machine.background("/usr/sbin/sshd", "-D", "-e", "-f", f"{HOME}/.ssh/sshd_config") as server:
        assert server.stderr is not None
        assert any("Server listening" in line for line in server.stderr)
        yield
