"""An OAuth 2.0 server that is not ours: Authlib's grants on Flask, in memory, on a loopback port of its own.

Run as a program (`python foreign_server.py SECONDS ROTATING_SECONDS`) it prints its URL and serves until it is ended.
Its token endpoint is /connect/token, its authorization endpoint /connect/authorize (the person agrees, unless the
browser says that its name is `declines`), /me is the protected resource, and /issued counts the tokens by grant.

Refresh tokens rotate: a refresh revokes the pair it was made with. A refresh token that comes a second time was stolen
from somebody, so the whole family, all that came of one login, is revoked (RFC 9700 section 4.14.2).
"""

import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, OAuth2Request, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

TOKEN_PATH, AUTHORIZE_PATH = "/connect/token", "/connect/authorize"
CLIENT_ID, CLIENT_SECRET = "reports", "fake-client-secret"
USERNAME, PASSWORD = "ada", "fake-password"
REDIRECT_URI = "http://127.0.0.1:4711/callback"


@dataclass(frozen=True, slots=True)
class Person:
    name: str

    def get_user_id(self) -> str:
        return self.name


class Client(ClientMixin):
    """The one client: confidential, HTTP Basic, all grants."""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return REDIRECT_URI

    def get_allowed_scope(self, scope: str | None) -> str:  # noqa: ARG002 - Authlib's signature
        return ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        # A loopback address counts without its port (RFC 8252 section 7.3).
        return re.fullmatch(r"http://127\.0\.0\.1(:[0-9]+)?/callback", redirect_uri) is not None

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, CLIENT_SECRET)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return True


@dataclass(slots=True, eq=False)
class Code(AuthorizationCodeMixin):
    """An authorization code; the names of its fields are those that Authlib's PKCE looks for."""

    code: str
    user: Person
    redirect_uri: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return ""


@dataclass(slots=True, eq=False)
class Pair(TokenMixin):
    """An access token with its refresh token; `family` names the login that it comes of."""

    access_token: str
    refresh_token: str | None
    expires_in: int
    user: Person | None
    family: str
    issued_at: float = field(default_factory=time.time)
    revoked: bool = False

    def check_client(self, client: Client) -> bool:  # noqa: ARG002 - Authlib's signature
        return True

    def get_scope(self) -> str:
        return ""

    def get_expires_in(self) -> int:
        return self.expires_in

    def is_expired(self) -> bool:
        return time.time() >= self.issued_at + self.expires_in

    def is_revoked(self) -> bool:
        return self.revoked


@dataclass(slots=True)
class World:
    """All that the server knows."""

    client: Client = field(default_factory=Client)
    person: Person = field(default_factory=lambda: Person(USERNAME))
    codes: dict[str, Code] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    refreshable: dict[str, Pair] = field(default_factory=dict)
    issued: Counter[str] = field(default_factory=Counter)


def create_app(lifetime: int, rotating_lifetime: int) -> Flask:
    """Make the server; tokens that are refreshed live `rotating_lifetime` seconds, the others `lifetime`."""
    world = World()
    acting = threading.Lock()  # a real server has its database's transactions

    class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
        def authenticate_user(self, username: str, password: str) -> Person | None:
            return world.person if (username, password) == (USERNAME, PASSWORD) else None

    class CodeGrant(grants.AuthorizationCodeGrant):
        def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
            data = request.payload.data
            challenge = data.get("code_challenge"), data.get("code_challenge_method")
            world.codes[code] = Code(code, request.user, request.payload.redirect_uri, *challenge)

        def query_authorization_code(self, code: str, client: Client) -> Code | None:  # noqa: ARG002 - Authlib's signature
            return world.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del world.codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> Person:
            return authorization_code.user

    class RefreshGrant(grants.RefreshTokenGrant):
        INCLUDE_NEW_REFRESH_TOKEN = True

        def authenticate_refresh_token(self, refresh_token: str) -> Pair | None:
            pair = world.refreshable.get(refresh_token)
            if pair is None or not pair.revoked:
                return pair
            for relative in world.pairs.values():
                relative.revoked = relative.revoked or relative.family == pair.family
            return None

        def authenticate_user(self, credential: Pair) -> Person | None:
            return credential.user

        def revoke_old_credential(self, refresh_token: Pair) -> None:
            refresh_token.revoked = True

    def save_token(token: Mapping[str, object], request: OAuth2Request) -> None:
        grant = str(request.payload.grant_type)
        parent = request.refresh_token if grant == "refresh_token" else None
        family = parent.family if parent is not None else secrets.token_hex(8)
        refresh_token = str(token["refresh_token"]) if "refresh_token" in token else None
        pair = Pair(str(token["access_token"]), refresh_token, int(str(token["expires_in"])), request.user, family)
        world.pairs[pair.access_token] = pair
        if refresh_token is not None:
            world.refreshable[refresh_token] = pair
        world.issued[grant] += 1

    class Validator(BearerTokenValidator):
        def authenticate_token(self, token_string: str) -> Pair | None:
            return world.pairs.get(token_string)

    app = Flask(__name__)
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {
        "client_credentials": lifetime,
        "password": lifetime,
        "authorization_code": rotating_lifetime,
        "refresh_token": rotating_lifetime,
    }
    server = AuthorizationServer(app, lambda client_id: world.client if client_id == CLIENT_ID else None, save_token)
    for grant in (grants.ClientCredentialsGrant, PasswordGrant, RefreshGrant):
        server.register_grant(grant)
    server.register_grant(CodeGrant, [CodeChallenge(required=True)])
    protected = ResourceProtector()
    protected.register_token_validator(Validator())

    @app.get(AUTHORIZE_PATH)
    def authorize() -> Response:
        with acting:
            consent = server.get_consent_grant(end_user=world.person)
            agrees = request.user_agent.string != "declines"
            found: Response = server.create_authorization_response(
                grant=consent, grant_user=world.person if agrees else None
            )
            return found

    @app.post(TOKEN_PATH)
    def token() -> Response:
        with acting:
            found: Response = server.create_token_response()
            return found

    @app.get("/me")
    @protected()  # type: ignore[untyped-decorator] # Authlib has no types
    def me() -> Response:
        return jsonify(name=current_token.user.name if current_token.user else None)

    @app.get("/issued")
    def issued() -> Response:
        return jsonify(world.issued)

    return app


# --- for tests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """A server in a process of its own."""

    url: str

    @property
    def resource(self) -> str:
        """Give the URL of the protected resource."""
        return f"{self.url}/me"

    def issued(self) -> Mapping[str, int]:
        """Count the tokens that were issued, by grant."""
        status, body, _ = self.ask("GET", "/issued")
        assert status == 200
        return Counter(json.loads(body))

    def log_in(self) -> tuple[str, str]:
        """Let the person agree in the browser; gives the code and its PKCE verifier."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        status, body, location = self.ask("GET", f"{AUTHORIZE_PATH}?{urlencode(query)}")
        assert status == 302, body
        return parse_qs(urlsplit(location).query)["code"][0], verifier

    def spend(self, **form: str) -> tuple[int, dict[str, str]]:
        """Send a token request; gives the status and the answer."""
        status, body, _ = self.ask("POST", TOKEN_PATH, urlencode(form))
        return status, json.loads(body)

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes, str]:
        """Send a request as the client; gives status, body and Location."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("Location", "")
        finally:
            connection.close()


@contextmanager
def foreign_server(lifetime: int, rotating_lifetime: int) -> Iterator[ForeignServer]:
    """Serve on a free loopback port; it is ended by its own pid."""
    program = [sys.executable, str(Path(__file__)), str(lifetime), str(rotating_lifetime)]
    environ = os.environ | {"AUTHLIB_INSECURE_TRANSPORT": "1"}  # Authlib refuses plain HTTP otherwise
    with subprocess.Popen(program, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), f"the server did not start: {url!r}"
            yield ForeignServer(url)
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    """Serve until ended."""
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every use would drown a failing test's output
    server = make_server("127.0.0.1", 0, create_app(int(sys.argv[1]), int(sys.argv[2])), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
