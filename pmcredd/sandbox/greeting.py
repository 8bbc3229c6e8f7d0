"""What the sandbox prints when it is ready: where it is, who is in it, and profiles to paste."""

import tomli_w

from pmcredd.sandbox.instances import CODE, FIXED_CALLBACK, PASSWORD, PM3_CLIENT, USERS, Sandbox
from pmcredd.sandbox.world import Client

READY = "sandbox ready: "  # the first line starts with it and ends in the URL: programs read that


def ready_line(url: str) -> str:
    """The first line, for programs."""
    return READY + url


def profiles_toml(url: str, sandbox: Sandbox) -> str:
    """Write one profile for each generation, as a profiles file has them."""
    person = {"username": USERS[0].username, "password": USERS[0].password}
    profiles = {
        "sandbox": {
            "url": url,
            "grant": "password",
            "client_id": PASSWORD.id,
            "client_secret": PASSWORD.secret,
            **person,
        },
        "sandbox3": {
            "url": url,
            "generation": 3,
            "workspace": sandbox.settings.workspace,
            "grant": "password",
            "client_id": PM3_CLIENT.id,
            "client_secret": PM3_CLIENT.secret,
            **person,
        },
    }
    return tomli_w.dumps({"profiles": profiles})


def login_toml(url: str, sandbox: Sandbox) -> str:
    """Write one profile for each generation that logs in in the browser."""
    fixed = {"redirect_uri": FIXED_CALLBACK}
    login = {"url": url, "grant": "authorization_code"}
    profiles = {
        "sandbox-login": {
            **login,
            "client_id": CODE.id,
            "client_secret": CODE.secret,
            **({} if sandbox.dialect.any_loopback_port else fixed),
        },
        "sandbox3-login": {
            **login,
            "generation": 3,
            "workspace": sandbox.settings.workspace,
            "client_id": PM3_CLIENT.id,
            "client_secret": PM3_CLIENT.secret,
            **fixed,
        },
    }
    return tomli_w.dumps({"profiles": profiles})


def greeting(url: str, sandbox: Sandbox) -> str:
    """Tell people what is there and what to do with it."""
    workspace = sandbox.settings.workspace
    lines = [
        f"ProcessMaker 4 ({sandbox.settings.version}): POST {url}/oauth/token, API {url}/api/1.0/users",
        f"  in the browser: {url}/oauth/authorize, {url}/login, {url}/logout",
        f"ProcessMaker 3: POST {url}/{workspace}/oauth2/token, API {url}/api/1.0/{workspace}/cases/draft/paged",
        f"  in the browser: {url}/{workspace}/oauth2/authorize",
        "",
        "users (both):",
        *(f"  {user.username} / {user.password}{'  administrator' * user.administrator}" for user in USERS),
        "clients of ProcessMaker 4:",
        *(_client(client) for client in sandbox.pm4.clients.values()),
        "clients of ProcessMaker 3:",
        *(_client(client) for client in sandbox.pm3.clients.values()),
        "",
        "profiles to paste into a file of your own under profiles.d/:",
        "",
        profiles_toml(url, sandbox),
        login_toml(url, sandbox),
        f"log in as another: {url}/logout in the browser, then pmcred login sandbox-login again",
        "kill a token now:   curl --json '{\"all\": true}' " + f"{url}/_sandbox/revoke",
        f"see what was asked: curl {url}/_sandbox/log",
        'lose an answer:     curl --json \'{"faults": ["lose-answer:1"]}\' ' + f"{url}/_sandbox/faults",
        "Ctrl-C ends it; nothing is kept.",
    ]
    return "\n".join(lines)


def _client(client: Client) -> str:
    redirects = client.redirect.replace(",", " ").split()
    words = [client.id, client.secret, client.name, *(f"redirect URI {one}" for one in redirects)]
    return f"  {'  '.join(words)}"
