"""A browser as a command, for $BROWSER: `visit.py USERNAME URL` logs in at the sandbox, and goes where it is sent.

With `no-` in front of the user's name the access is denied.
"""

import sys
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs by itself, like any other browser

from support.visitor import address_of


def main() -> None:
    """Log in, and follow the redirect to whoever asked."""
    username, url = sys.argv[1:]
    address = address_of(url, username.removeprefix("no-"), approve=not username.startswith("no-"))
    httpx.get(address, trust_env=False, timeout=60)


if __name__ == "__main__":
    main()
