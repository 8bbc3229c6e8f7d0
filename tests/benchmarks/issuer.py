"""An OpenID provider, as small as oidc-gen accepts one: prints its address once it listens on 127.0.0.1."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

TOKEN = "t" * 1000


class Issuer(BaseHTTPRequestHandler):
    """Tells where its endpoints are, and gives the same token to everybody."""

    def do_GET(self) -> None:
        """Answer .well-known/openid-configuration."""
        assert isinstance(self.server, HTTPServer)
        base = f"http://127.0.0.1:{self.server.server_port}"
        endpoints = {"token": "token", "authorization": "authorize", "registration": "register"}
        self._send(
            {
                "issuer": f"{base}/",
                "jwks_uri": f"{base}/jwks",
                **{f"{name}_endpoint": f"{base}/{path}" for name, path in endpoints.items()},
                "grant_types_supported": ["refresh_token"],
                "response_types_supported": ["code"],
                "scopes_supported": ["openid", "offline_access"],
            }
        )

    def do_POST(self) -> None:
        """Answer token."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 31536000, "refresh_token": "r"})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, answer: dict[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with HTTPServer(("127.0.0.1", 0), Issuer) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
