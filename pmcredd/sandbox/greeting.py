"""What the sandbox prints when it is ready: where it is, who is in it, and profiles to paste."""

import tomli_w

from pmcredd.sandbox.instances import CLIENTS, PASSWORD, PM3_CLIENT, PM3_CLIENTS, USERS, Sandbox

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


def greeting(url: str, sandbox: Sandbox) -> str:
    """Tell people what is there and what to do with it."""
    workspace = sandbox.settings.workspace
    lines = [
        f"ProcessMaker 4 ({sandbox.settings.version}): POST {url}/oauth/token, API {url}/api/1.0/users",
        f"ProcessMaker 3: POST {url}/{workspace}/oauth2/token, API {url}/api/1.0/{workspace}/cases/draft/paged",
        "",
        "users (both):",
        *(f"  {user.username} / {user.password}{'  administrator' * user.administrator}" for user in USERS),
        "clients of ProcessMaker 4:",
        *(f"  {client.id}  {client.secret}  {client.name}" for client in CLIENTS),
        "clients of ProcessMaker 3:",
        *(f"  {client.id}  {client.secret}  {client.name}" for client in PM3_CLIENTS),
        "",
        "profiles to paste into a file of your own under profiles.d/:",
        "",
        profiles_toml(url, sandbox),
        "kill a token now:   curl --json '{\"all\": true}' " + f"{url}/_sandbox/revoke",
        f"see what was asked: curl {url}/_sandbox/log",
        'lose an answer:      curl --json \'{"faults": ["lose-answer:1"]}\' ' + f"{url}/_sandbox/faults",
        "Ctrl-C ends it; nothing is kept.",
    ]
    return "\n".join(lines)
