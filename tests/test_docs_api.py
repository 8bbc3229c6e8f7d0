"""docs/api.md is typed as it stands there, at a server that has what the page asks it for."""

import json
import shutil
from pathlib import Path

import pytest
from support.api_server import OLD, Reply, Seen, house
from support.daemon import user_at, write_profiles
from support.doc_pages import DOCS
from support.reader import Reader, needs_programs
from support.typed import read
from support.user import PMCRED

pytestmark = [
    pytest.mark.storm,
    needs_programs,
    pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq: apt install jq"),
]

PAGE = DOCS / "api.md"
PROFILE = """
[profiles.prod]
url = "{url}"
grant = "personal_access_token"
token = {{ file = "nobody asks for it" }}
"""
USER = b'{"firstname": "Ada"}'
REPORT = b"%PDF-1.7\n\x00\xff"
FORM = b"a=1&b=2"


def as_json(body: object, status: int = 200) -> Reply:
    """Answer as ProcessMaker does."""
    return Reply(status, (("Content-Type", "application/json"),), json.dumps(body).encode())


# What the page asks for, and what the server has for it.
ANSWERS = {
    "/users/1": as_json({"id": 1, "username": "admin", "status": "ACTIVE"}),
    "/requests?pmql=(status%20=%20%22Active%22)&per_page=100": as_json({"data": [{"id": 31}, {"id": 28}]}),
    "/groups": as_json({"id": 12, "name": "Approvers", "status": "ACTIVE"}, 201),
    "/users/7": Reply(204),
    "/files/12/contents": Reply(200, (("Content-Type", "application/pdf"),), REPORT),
    "/groups/11": as_json({"error": "Not Found"}, 404),
    "/something": as_json({}),
}


def test_every_call_of_the_page_is_made_and_shows_what_the_page_shows(tmp_path: Path, short_path: Path) -> None:
    """The server is asked for exactly what the reader typed, with the token, and the reader sees what it answered."""
    user = user_at(short_path)
    (user.home / "user.json").write_bytes(USER)
    environ = user.environ | {"PATH": f"{Path(PMCRED).parent}:/usr/bin:/bin"}
    with house(user.socket) as served:
        write_profiles(user, PROFILE.format(url=served.api.url))
        served.api.special |= {f"/api/1.0{path}": answer for path, answer in ANSWERS.items()}
        replace = {
            "https://acme.processmaker.net": served.api.url,
            "acme.processmaker.net": served.api.url.partition("//")[2],
        }
        with Reader(tmp_path / "terminals", user.home, environ, replace) as reader:
            read(reader, PAGE)

        def request(method: str, path: str, body: bytes = b"") -> Seen:
            return Seen(method, f"/api/1.0{path}", f"Bearer {OLD}", body)

        assert served.api.seen == [
            request("GET", "/users/1"),
            request("GET", "/requests?pmql=(status%20=%20%22Active%22)&per_page=100"),
            request("POST", "/groups", b'{"name": "Approvers", "status": "ACTIVE"}'),
            request("PUT", "/users/7", USER),
            request("GET", "/files/12/contents"),
            request("DELETE", "/groups/11"),
            request("POST", "/something", FORM),
        ]
    assert (user.home / "report.pdf").read_bytes() == REPORT
