"""From one value of TOML to one value of a profile: a function for each kind of key, and what it says when it is wrong.

No message quotes a value that may be, or may hold, a secret.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time

from pmcredd.profile_keys import Key, Kind
from pmcredd.profiles import secret_flaw
from pmcredd.urls import BadUrl, Url, parse_url


class Flaw(Exception):
    """What is wrong with one value, and what to write instead."""

    def __init__(self, wrong: str, mend: str = "") -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: relative paths start in `folder`, and ~ is `home`."""

    folder: str
    home: str


def read_value(key: Key, raw: object, place: Place) -> object:
    """Read the value of any key that is no table of keys itself; raise Flaw."""
    return _READ[key.kind](key, raw, place)


def kind_of(raw: object) -> str:
    """Name the type of a TOML value in TOML's own words."""
    return next((name for kind, name in _TYPES if isinstance(raw, kind)), type(raw).__name__)


def literal(raw: str) -> str:
    """Check a secret that stands in the profile itself; raise Flaw."""
    if (flaw := secret_flaw(raw)) is not None:
        raise Flaw(flaw, "write the secret as ProcessMaker shows it, or name where it is: { file = ... }")
    return raw


def closest(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """Find what somebody who wrote `word` may have meant."""
    import difflib  # here: only a mistake needs it

    found = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


# bool before int, datetime before date: each is also the other.
_TYPES: tuple[tuple[type, str], ...] = (
    (str, "a string"),
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a float"),
    (list, "an array"),
    (dict, "a table"),
    (datetime, "a date"),
    (date, "a date"),
    (time, "a time"),
)

FORMS: Mapping[Kind, re.Pattern[str]] = {
    Kind.CLIENT_ID: re.compile(r"[!-~](?:[ -~]*[!-~])?"),  # RFC 6749 appendix A.1
    Kind.WORKSPACE: re.compile(r"[A-Za-z0-9_-]{1,64}"),
    Kind.SCOPE: re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*"),  # RFC 6749 section 3.3
    Kind.SERVER_PATH: re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%-][A-Za-z0-9._~!$&'()*+,;=:@%/-]*"),
    Kind.REDIRECT_URI: re.compile(r"http://127\.0\.0\.1(?::[1-9][0-9]{0,4})?/.+"),
    Kind.VARIABLE: re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    Kind.CREDENTIAL: re.compile(r"[ -.0-9;-~]{1,255}"),  # as systemd has it: a file name without colons
}
"""What a text of a kind looks like as a whole; JSON Schema has no looking ahead, so there is none here."""

RANGES: Mapping[Kind, tuple[int, int]] = {
    Kind.SECONDS: (1, 600),
    Kind.LENGTH: (10, 10 * 366 * 86_400),  # ten years
}
"""From and to, in seconds."""

A_PAGE = re.compile(r"/(?:api/[0-9.]+|oauth2?|login|sys[^/]*)(?:/.*)?$")
"""The end of a URL's path that is a page's, or the API's, and not an instance's."""


def _written(key: Key) -> str:
    return f"write {key.name} = {key.example}"


def _text(key: Key, raw: object) -> str:
    if not isinstance(raw, str):
        if key.kind is Kind.CLIENT_ID and type(raw) is int:
            raise Flaw("must be a string, not an integer", f'write {key.name} = "{raw}"')
        raise Flaw(f"must be a string, not {kind_of(raw)}", _written(key))
    if not raw:
        raise Flaw("is empty", _written(key))
    if not raw.isprintable():
        raise Flaw("has a control character or another invisible one in it", _written(key))
    if raw != raw.strip():
        raise Flaw("has a space at its start or its end", "remove the space")
    return raw


def _formed(key: Key, raw: object, wrong: str, mend: str = "") -> str:
    text = _text(key, raw)
    if not FORMS[key.kind].fullmatch(text):
        raise Flaw(wrong, mend or _written(key))
    return text


def _plain(key: Key, raw: object, _: Place) -> str:
    return _text(key, raw)


def _client_id(key: Key, raw: object, _: Place) -> str:
    mend = "copy the id from ProcessMaker's list of clients"
    return _formed(key, raw, "has a character in it that no client id can have", mend)


def _choice(key: Key, raw: object, _: Place) -> str | int:
    for choice in key.choices:
        if type(raw) is type(choice) and raw == choice:
            return choice
    wrong = "must be one of " + ", ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in key.choices)
    for choice in key.choices:
        if type(raw) is not bool and str(raw) == str(choice):
            raise Flaw(
                f"must be {kind_of(choice)}, not {kind_of(raw)}",
                f"write {key.name} = " + (f'"{choice}"' if isinstance(choice, str) else str(choice)),
            )
    if not isinstance(raw, str):
        raise Flaw(f"{wrong}, not {kind_of(raw)}", _written(key))
    meant = closest(raw, tuple(str(choice) for choice in key.choices))
    raise Flaw(wrong, f'did you mean "{meant}"?' if meant else _written(key))


def _parsed(key: Key, text: str) -> Url:
    try:
        url = parse_url(text)
    except BadUrl as bad:
        wrong = bad.wrong
    else:
        if url.userinfo is None:
            return url
        wrong = "has a user name or a password in it"
    if key.kind is Kind.PROXY and wrong.startswith("has a user"):
        raise Flaw(wrong, 'write proxy = "environment" and keep it in https_proxy, or use a proxy that asks for none')
    raise Flaw(wrong, _written(key))


def _url(key: Key, raw: object, _: Place) -> str:
    url = _parsed(key, _text(key, raw))
    if url.tail:
        raise Flaw("has a query or a fragment", f'write url = "{url}"')
    if url.scheme == "http" and not url.loopback:
        raise Flaw(f"plain http to {url.host} would show every secret to the network", "write https://")
    if page := A_PAGE.search(url.path):
        raise Flaw(
            f"ends in {page.group()}, the path of a page or of the API",
            f'write url = "{url.origin}{url.path[: page.start()]}"',
        )
    return str(url)


def _proxy(key: Key, raw: object, _: Place) -> str | None:
    text = _text(key, raw)
    if text == "none":
        return None
    if text == "environment":
        return text
    url = _parsed(key, text)
    if url.tail or url.path:
        raise Flaw("has a path, a query or a fragment", f'write proxy = "{url.origin}"')
    return url.origin


def _workspace(key: Key, raw: object, _: Place) -> str:
    return _formed(key, raw, "is not the name of a workspace: letters, digits, - and _")


def _scope(key: Key, raw: object, _: Place) -> str:
    return _formed(key, raw, "is not a list of scopes with one space between them")


def _server_path(key: Key, raw: object, _: Place) -> str:
    wrong = "is not the path of a URL: it starts with one / and has no query"
    text = _formed(key, raw, wrong)
    if "/../" in f"{text}/" or "/./" in f"{text}/":
        raise Flaw(wrong, _written(key))
    return text


def _redirect_uri(key: Key, raw: object, _: Place) -> str:
    """Read a redirect URI, and keep it as it is: servers compare it letter by letter (RFC 6749 section 3.1.2.3)."""
    text = _text(key, raw)
    url = _parsed(key, text)
    if url.host == "localhost":  # RFC 8252 section 8.3
        port = "" if url.port is None else f":{url.port}"
        raise Flaw(
            "localhost may be [::1], where nobody listens, and ProcessMaker compares it with its port",
            f'write {key.name} = "http://127.0.0.1{port}{url.path or "/callback"}", and change it in ProcessMaker, too',
        )
    if url.host != "127.0.0.1":
        raise Flaw("is not on 127.0.0.1, the only address where pmcredd waits for a browser", _written(key))
    if url.scheme != "http":
        raise Flaw("must be http: nobody has a certificate for 127.0.0.1", _written(key))
    if url.tail:
        raise Flaw("has a query or a fragment", _written(key))
    if not url.path:
        raise Flaw("has no path", _written(key))
    if not FORMS[key.kind].fullmatch(text):
        raise Flaw("is not in the form that servers compare", f'write {key.name} = "{url}"')
    return text


def _file(key: Key, raw: object, place: Place) -> str:
    return _path(_text(key, raw), place)


def _path(text: str, place: Place) -> str:
    if text.startswith("~"):
        if text != "~" and not text.startswith("~/"):
            raise Flaw(
                "starts with the home directory of somebody else", "write the whole path, or ~/ for your own home"
            )
        if not place.home.startswith("/"):
            raise Flaw("starts with ~ and $HOME is not set", "write the whole path")
        text = place.home.rstrip("/") + text[1:]
    return text if text.startswith("/") else f"{place.folder.rstrip('/')}/{text.removeprefix('./')}"


def _seconds(key: Key, raw: object, _: Place) -> float:
    least, most = RANGES[key.kind]
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Flaw(f"must be a number of seconds, not {kind_of(raw)}", _written(key))
    if not least <= raw <= most:  # not a number (nan) compares false, too
        raise Flaw(f"must be from {least} to {most} seconds", _written(key))
    return float(raw)


def _command(key: Key, raw: object, place: Place) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw:
        what = "not an empty array" if raw == [] else f"not {kind_of(raw)}"
        raise Flaw(f"must be an array of the program and its arguments, {what}", _written(key))
    if not all(isinstance(word, str) and "\0" not in word for word in raw):
        raise Flaw("must hold strings only", _written(key))
    program = str(raw[0])
    if not program:
        raise Flaw("names no program", _written(key))
    if "/" in program:  # else it is looked up on PATH
        program = _path(program, place)
    return (program, *raw[1:])


def _yes_or_no(key: Key, raw: object, _: Place) -> bool:
    if not isinstance(raw, bool):
        raise Flaw(f"must be true or false, not {kind_of(raw)}", _written(key))
    return raw


def _variable(key: Key, raw: object, _: Place) -> str:
    return _formed(key, raw, "is not the name of an environment variable: letters, digits and _, without $")


def _credential(key: Key, raw: object, _: Place) -> str:
    wrong = "is not the name of a systemd credential: a file name, not a path"
    text = _formed(key, raw, wrong)
    if text in {".", ".."}:
        raise Flaw(wrong, _written(key))
    return text


_READ: Mapping[Kind, Callable[[Key, object, Place], object]] = {
    Kind.CHOICE: _choice,
    Kind.URL: _url,
    Kind.PROXY: _proxy,
    Kind.TEXT: _plain,
    Kind.CLIENT_ID: _client_id,
    Kind.WORKSPACE: _workspace,
    Kind.SCOPE: _scope,
    Kind.SERVER_PATH: _server_path,
    Kind.REDIRECT_URI: _redirect_uri,
    Kind.FILE: _file,
    Kind.SECONDS: _seconds,
    Kind.LENGTH: _seconds,
    Kind.COMMAND: _command,
    Kind.VARIABLE: _variable,
    Kind.CREDENTIAL: _credential,
    Kind.YES_OR_NO: _yes_or_no,
}
