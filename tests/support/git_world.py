"""What a daemon would know and answer to the credential helper, for tests that play one."""

from dataclasses import dataclass, field

from pmcredd import wire
from pmcredd.secret import Secret


@dataclass
class World:
    """Profiles by name with their urls, and a token for each, which a `reject` replaces; `good_until` is unix time."""

    urls: dict[str, str]
    good_until: int = 4_000_000_000
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens |= {name: f"token-of-{name}.1" for name in self.urls}

    def answer(self, request: bytes) -> bytes:
        """Answer list, status, get and reject."""
        verb, name, *_ = [*request.decode().split(), ""]
        if verb in {"list", "status"}:
            blocks = [
                {"profile": each, "url": url, "user_name": f"user-of-{each}"}
                | ({"fingerprint": Secret(self.tokens[each]).fingerprint()} if verb == "status" else {})
                for each, url in self.urls.items()
            ]
            return wire.format_ok(blocks, many=True)
        if verb == "reject":
            assert f"fingerprint={Secret(self.tokens[name]).fingerprint()}" in request.decode()
            self.tokens[name] += "1"
        block = {"access_token": self.tokens[name], "profile": name, "url": self.urls[name]}
        return wire.format_ok([block | {"good_until": str(self.good_until)}], many=False)
