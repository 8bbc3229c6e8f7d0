"""A stand-in for docker: what a recipe needs of it, and no more."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.user_manager import INSTALLED

_BIN = Path(sys.prefix, "bin")
# A root directory and namespaces of its own, of what is outside only what is installed, an environment made anew, and
# the user that was asked for, mapped into a user namespace; or, with UNMAPPED in the environment, not.
_DOCKER = f"""#!/bin/sh -eu
PATH=$PATH:/usr/sbin:/sbin map=
while :; do
  case $1 in
  run | --rm) shift ;;
  --user) map="--map-user=${{2%:*}} --map-group=${{2#*:}}"; shift 2 ;;
  --volume) inside=${{2##*:}}; outside=${{2%":$inside"}}; shift 2 ;;
  --env) environ=$2; shift 2 ;;
  IMAGE) shift; break ;;
  esac
done
ROOT=ROOT_OF_IT
export ROOT outside inside
[ "${{UNMAPPED-}}" ] || exec unshare --user $map --keep-caps --mount sh -euc '
  mount -t tmpfs -o mode=755 tmpfs "$ROOT"
  for place in /usr /bin /lib /lib64 /etc /proc {shlex.join(INSTALLED)}; do
    [ -e "$place" ] || continue
    mkdir -p "$ROOT$place"; mount --rbind "$place" "$ROOT$place"
  done
  mkdir -p "$ROOT$inside"; mount --bind "$outside" "$ROOT$inside"
  exec chroot "$ROOT" env -i "$@"' sh "$environ" PATH={_BIN}:/usr/bin:/bin "$@"
exec unshare --user env -i "PMCRED_SOCKET=$outside/socket" PATH={_BIN}:/usr/bin:/bin "$@"
"""


def put_docker(directory: Path) -> Path:
    """Make such a `docker` in a directory; skips the test where user namespaces are not allowed."""
    probe = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"the kernel does not allow user namespaces to us: {probe.stderr.decode().strip()}")
    root = directory / "root"
    root.mkdir(parents=True)
    docker = directory / "docker"
    docker.write_text(_DOCKER.replace("ROOT_OF_IT", shlex.quote(str(root))))
    docker.chmod(0o755)
    return docker
