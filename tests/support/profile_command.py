"""What the tests of `pmcred profile` write, type, and look at."""

import subprocess
from pathlib import Path

from support.user import PMCRED, User

PROD = """\
[profiles.prod]
url = "https://acme.processmaker.net"
grant = "password"
client_id = "3"
client_secret = { command = ["pass", "show", "pm/prod key"] }
username = "integration"
password = "in-plain-sight"
"""
OTHERS = """\
[defaults]
proxy = "http://proxy.example:3128"

[profiles.envy]
url = "https://b.example/pm"
generation = 3
workspace = "workflow"
grant = "client_credentials"
client_id = "X"
client_secret = { env = "PM_SECRET" }

[profiles.sys]
url = "https://c.example"
grant = "personal_access_token"
token = { credential = "pm-token" }

[profiles.ring]
url = "https://d.example"
grant = "personal_access_token"
token = { keyring = "pmcred", username = "report" }
"""
ADD = ("--url", "https://acme.processmaker.net", "--grant", "password", "--client-id", "3", "--username", "demo")


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def everything(user: User) -> dict[str, str]:
    """Give all that is under this user's configuration."""
    return {
        str(path.relative_to(user.config)): path.read_text() if path.is_file() else ""
        for path in user.config.rglob("*")
    }


def piped(user: User, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with `text` on its standard input."""
    return subprocess.run(
        [PMCRED, *arguments], env=user.environ, input=text, capture_output=True, text=True, check=False, timeout=60
    )


SECRETS = ("--client-secret-env", "S", "--password-env", "P")
