"""The request for a login in the browser, and what is made of the address on which the browser ends."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pmcredd import authorization, oauth
from pmcredd.authorization import Authorization, Denied, Granted, Stranger, read_redirect
from pmcredd.oauth import Code
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

PM4 = Profile("prod", "https://acme.processmaker.net/pm", Grant.AUTHORIZATION_CODE, client_id="3")
PM3 = Profile(
    "legacy",
    "https://bpm.example.org:8443",
    Grant.AUTHORIZATION_CODE,
    generation=3,
    workspace="workflow",
    client_id="x-pm-local-client",
    redirect_uri="http://127.0.0.1:28080/callback",
)
HERE = "http://127.0.0.1:4711/callback"
CODE = "def502" + "00ab" * 175


def entropy() -> Callable[[int], bytes]:
    """Be a source of bytes that differ from call to call, and are the same in every test."""
    calls = count()
    return lambda number: hashlib.shake_256(bytes([next(calls)])).digest(number)


def begin(profile: Profile = PM4, uri: str = HERE) -> Authorization:
    """Begin a login."""
    return authorization.begin(profile, uri, entropy())


LOGIN = begin()
STATE = LOGIN.state.reveal()
GRANTED = Granted(Code(Secret(CODE), HERE, LOGIN.verifier))


def query(url: str) -> dict[str, str]:
    """Give the parameters of a URL, each of which must be there once."""
    fields = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def brought(**fields: str) -> str:
    """Be the address on which a browser ends, with this login's state unless another is given."""
    return f"{HERE}?{urlencode({'state': STATE, **fields})}"


# The request


def test_the_browser_is_sent_with_everything_that_a_server_checks() -> None:
    """RFC 6749 section 4.1.1 and RFC 7636 section 4.3, below the instance's own path."""
    assert LOGIN.url.startswith("https://acme.processmaker.net/pm/oauth/authorize?")
    assert LOGIN.verifier is not None
    digest = hashlib.sha256(LOGIN.verifier.reveal().encode()).digest()
    assert query(LOGIN.url) == {
        "response_type": "code",
        "client_id": "3",
        "redirect_uri": HERE,
        "state": STATE,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }


def test_the_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636 appendix B, byte for byte."""
    octets = bytes.fromhex(
        "74 18 df b4 97 99 e0 25 4f fa 60 7d d8 ad bb ba 16 d4 25 4d 69 d6 bf f0 5b 58 05 58 53 84 8d 79"
    )
    login = authorization.begin(PM4, HERE, lambda _: octets)
    assert login.verifier == Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert query(login.url)["code_challenge"] == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_processmaker_3_gets_no_pkce() -> None:
    """It knows none, and its pages are those of a workspace."""
    login = begin(PM3, "http://127.0.0.1:28080/callback")
    assert login.url.startswith("https://bpm.example.org:8443/workflow/oauth2/authorize?")
    assert login.verifier is None
    assert query(login.url) == {
        "response_type": "code",
        "client_id": "x-pm-local-client",
        "redirect_uri": "http://127.0.0.1:28080/callback",
        "state": login.state.reveal(),
    }


def test_a_scope_goes_out_only_if_the_profile_names_one() -> None:
    """ProcessMaker 4 refuses any but *, so none is invented; what moved the page is followed."""
    login = begin(replace(PM4, scope="a b&c", authorize_path="/sso/login"))
    assert "scope=a%20b%26c" in login.url
    assert login.url.startswith("https://acme.processmaker.net/pm/sso/login?")
    assert query(login.url)["scope"] == "a b&c"


def test_no_two_logins_share_state_or_verifier() -> None:
    """Each has 256 random bits of both, and neither can be told from the other."""
    logins = [authorization.begin(PM4, HERE) for _ in range(50)]
    seen = [one.state for one in logins] + [one.verifier for one in logins if one.verifier]
    assert len(set(seen)) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret.reveal()) for secret in seen)


def test_neither_verifier_nor_state_shows() -> None:
    """The URL holds no secret but the state, and a repr does not hold the URL."""
    assert LOGIN.verifier is not None
    assert LOGIN.verifier.reveal() not in LOGIN.url
    assert STATE not in repr(LOGIN)
    assert CODE not in repr(GRANTED)


def test_a_profile_without_a_client_cannot_log_in() -> None:
    """The reader of profiles lets none pass: it is our own mistake, and says so."""
    with pytest.raises(ValueError, match="client_id is missing"):
        begin(replace(PM4, client_id=None))
    with pytest.raises(ValueError, match="workspace"):
        begin(replace(PM3, workspace=None))


@pytest.mark.parametrize(
    ("written", "port", "uri"),
    [
        (None, 4711, HERE),
        (None, None, "http://127.0.0.1/callback"),
        ("http://127.0.0.1/a/b/", 4711, "http://127.0.0.1:4711/a/b/"),
        ("http://127.0.0.1/a/b/", None, "http://127.0.0.1/a/b/"),
        ("http://127.0.0.1:28080/x", 28080, "http://127.0.0.1:28080/x"),
        ("http://127.0.0.1:28080/x", None, "http://127.0.0.1:28080/x"),
        ("http://127.0.0.1:80/x", 80, "http://127.0.0.1:80/x"),
    ],
)
def test_the_redirect_uri_is_the_profiles_with_an_open_port_filled_in(
    written: str | None, port: int | None, uri: str
) -> None:
    """What the profile names is sent to the letter; only a port that it leaves open is ours to choose."""
    assert authorization.redirect_uri(replace(PM4, redirect_uri=written), port) == uri


def test_what_is_to_be_registered_has_no_port_of_ours() -> None:
    """The port changes from login to login; the server's entry does not."""
    assert authorization.registered_uri(PM4) == "http://127.0.0.1/callback"
    assert authorization.registered_uri(PM3) == "http://127.0.0.1:28080/callback"


# The answer


def test_the_code_comes_with_all_that_its_exchange_needs() -> None:
    """Its redirect URI to the letter and its verifier (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""
    found = read_redirect(LOGIN, f"/callback?code={CODE}&state={STATE}")
    assert found == GRANTED
    assert isinstance(found, Granted)
    profile = replace(PM4, client_secret=None)
    fields = parse_qs(oauth.token_request(profile, client_secret=Secret("s"), code=found.code).body.decode())
    assert fields["redirect_uri"] == [HERE]
    assert fields["code_verifier"] == [LOGIN.verifier.reveal() if LOGIN.verifier else ""]


@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        "  {}\n",
        '"{}"',
        "'{}'",
        "<{}>",
        "`{}`",
        '"<{}>"',
        "{}#",
        "{}#_=_",
        "{}&session_state=x&iss=https%3A%2F%2Facme",
    ],
)
@pytest.mark.parametrize(
    "address",
    [
        f"{HERE}?code={CODE}&state={STATE}",
        f"{HERE}?state={STATE}&code={CODE}",
        f"HTTP://127.0.0.1:4711/callback?code={CODE}&state={STATE}",
        f"http://localhost:4711/callback?code={CODE}&state={STATE}",
        f"http://[::1]:4711/callback?code={CODE}&state={STATE}",
        f"http://127.0.0.1:9/callback?code={CODE}&state={STATE}",  # forwarded by ssh from another port
        f"127.0.0.1:4711/callback?code={CODE}&state={STATE}",
        f"/callback?code={CODE}&state={STATE}",
        f"?code={CODE}&state={STATE}",
        f"code={CODE}&state={STATE}",
        f"{HERE}?code={CODE[:80]}\n{CODE[80:]}&state={STATE}",
        f"{HERE}?code={CODE[:80]}  \r\n  {CODE[80:]}&state={STATE}",
    ],
)
def test_what_people_do_to_an_address_is_forgiven(address: str, dress: str) -> None:
    """Quotes, brackets, broken lines, a missing http://: the state tells whose it is."""
    assert read_redirect(LOGIN, dress.format(address)) == GRANTED


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "no address"),
        (" \n ", "no address"),
        ('""', "no address"),
        ("/callback", "neither code nor state"),
        ("/callback?", "neither code nor state"),
        (f"/callback?code={CODE}", "lost its state"),
        (f"/callback?code={CODE}&state=", "lost its state"),
        ("/callback?error=access_denied", "lost its state"),
        (f"/callback?state={STATE}", "neither a code nor an error"),
        (f"/callback?code=&state={STATE}", "neither a code nor an error"),
        (f"/callback?code=%C3%A9&state={STATE}", "neither a code nor an error"),
        (f"/callback?error=%00&state={STATE}", "neither a code nor an error"),
        (f"/callback?code={CODE}&state={STATE[:-1]}", "belongs to another login"),
        (f"/callback?code={CODE}&state={STATE}x", "belongs to another login"),
        (f"/callback?code={CODE}&state={STATE.swapcase()}", "belongs to another login"),
        (f"/callback?code={CODE}&state=%ff", "belongs to another login"),
        (f"/callback?error=access_denied&state={'0' * 43}", "belongs to another login"),
        (f"/callback?code={CODE}&error=access_denied&state={STATE}", "a code and an error"),
        (f"/callback?code={CODE}&code={CODE}&state={STATE}", "parameter twice"),
        (f"/callback?code={CODE}&state={STATE}&state={STATE}", "parameter twice"),
        (f"/callback?code={CODE}&state={STATE}&x=1&x=2", "parameter twice"),
        (f"/callback?code={CODE}&state={STATE}{'&a' * 60}", "too many parameters"),
        (f"/callback?code={'a' * 20_000}&state={STATE}", "too long"),
        (f"/callback/?code={CODE}&state={STATE}", "nothing but /callback is answered"),
        (f"/Callback?code={CODE}&state={STATE}", "nothing but /callback"),
        (f"//acme.example/callback?code={CODE}&state={STATE}", "another address"),
        (f"https://evil.example/callback?code={CODE}&state={STATE}", "another address"),
        (f"http://127.0.0.1.evil.example/callback?code={CODE}&state={STATE}", "another address"),
        (f"http://127.0.0.1@evil.example/callback?code={CODE}&state={STATE}", "another address"),
        (f"{HERE}/more?code={CODE}&state={STATE}", "another path"),
        (f"http://127.0.0.1:4711?code={CODE}&state={STATE}", "another path"),
        (f"http://127.0.0.1:x/callback?code={CODE}&state={STATE}", "is not an address"),
        (f"http://[::1/callback?code={CODE}&state={STATE}", "is not an address"),
        (CODE, "the code alone is not enough"),
        ("about:blank", "is not an address"),
        ("https://acme.processmaker.net/pm/login", "still at acme.processmaker.net: finish the login"),
        ("acme.processmaker.net/pm/login?x=1", "still at acme.processmaker.net: finish the login"),
    ],
)
def test_what_is_not_this_logins_answer_changes_nothing(target: str, said: str) -> None:
    """It is a stranger, and the sentence says why and what was wanted."""
    found = read_redirect(LOGIN, target)
    assert isinstance(found, Stranger)
    assert said in found.sentence
    assert CODE[:20] not in found.sentence
    assert STATE[:20] not in found.sentence


@pytest.mark.parametrize(
    "shown",
    [
        LOGIN.url,
        '{"error":"invalid_client","error_description":"Client authentication failed","message":"x"}',
    ],
)
def test_who_is_stuck_at_the_server_learns_what_to_register(shown: str) -> None:
    """ProcessMaker keeps the browser, with a bare invalid_client, where the redirect URI is another."""
    found = read_redirect(LOGIN, shown)
    assert isinstance(found, Stranger)
    assert "invalid_client" in found.sentence
    assert (
        "into Admin > Auth Clients, exactly so, as the redirect URL of the client 3: http://127.0.0.1/callback (before"
        in found.sentence
    )
    assert "before ProcessMaker 4.3 it needs a port, in redirect_uri of the profile" in found.sentence


def test_a_fixed_redirect_uri_is_registered_with_its_port() -> None:
    """Then there is one thing to register, and no word about versions."""
    three = begin(PM3, "http://127.0.0.1:28080/callback")
    found = read_redirect(three, three.url)
    assert isinstance(found, Stranger)
    assert found.sentence.endswith(
        "into Admin > REST applications, exactly so, as the redirect URL of the client x-pm-local-client: "
        "http://127.0.0.1:28080/callback"
    )
    four = begin(replace(PM4, redirect_uri="http://127.0.0.1:28080/callback"), "http://127.0.0.1:28080/callback")
    found = read_redirect(four, four.url)
    assert isinstance(found, Stranger)
    assert found.sentence.endswith("of the client 3: http://127.0.0.1:28080/callback")


def test_a_scope_that_is_refused_loses_its_state_on_the_way() -> None:
    """league/oauth2-server sends it to the registered address, without port and state; the mend is told."""
    login = begin(replace(PM4, scope="everything"))
    found = read_redirect(login, "http://127.0.0.1/callback?error=invalid_scope&error_description=x&hint=y")
    assert isinstance(found, Stranger)
    assert "refused the scope 'everything'" in found.sentence
    assert "pmcred profile edit prod" in found.sentence


@pytest.mark.parametrize(
    ("error", "title", "mend"),
    [
        ("access_denied", "Access was denied", "if that was a mistake, log in again and allow it: pmcred login prod"),
        ("invalid_scope", "The scope was refused", "remove scope, ProcessMaker needs none: pmcred profile edit prod"),
        (
            "unauthorized_client",
            "The client may not log people in",
            "in Admin > Auth Clients the client needs the Authorization Code box ticked and no other: use one client",
        ),
        (
            "unsupported_response_type",
            "The client may not log people in",
            "in Admin > Auth Clients the client needs the Authorization Code box ticked and no other: use one client",
        ),
        (
            "invalid_request",
            "The request was refused",
            "check url, authorize_path and redirect_uri: pmcred profile edit prod",
        ),
        ("server_error", "The server failed", "try again: pmcred login prod; if it stays so"),
        ("temporarily_unavailable", "The server is busy", "try again later: pmcred login prod"),
        ("login_required", "Nobody was asked", "log in to acme.processmaker.net in the browser, then try again"),
        ("consent_required", "Nobody was asked", "then try again: pmcred login prod"),
        ("interaction_required", "Nobody was asked", "then try again: pmcred login prod"),
        ("account_selection_required", "Nobody was asked", "then try again: pmcred login prod"),
        ("x-vendor thing", "The login failed", "try again: pmcred login prod"),
    ],
)
def test_an_error_at_the_redirect_is_told_with_its_mend(error: str, title: str, mend: str) -> None:
    """Every error of RFC 6749 section 4.1.2.1, and those that nobody has written down."""
    found = read_redirect(LOGIN, brought(error=error, error_description="So it is.", hint="Because."))
    assert isinstance(found, Denied)
    assert found.title == title
    assert mend in found.mend
    assert "acme.processmaker.net" in found.sentence
    if error != "access_denied":  # the user's own word needs no quoting
        assert f': "So it is; Because" ({error})' in found.sentence


def test_an_error_of_processmaker_3_names_its_own_page() -> None:
    """Its clients are found elsewhere, and have no boxes."""
    login = begin(PM3, "http://127.0.0.1:28080/callback")
    found = read_redirect(login, f"/callback?error=unauthorized_client&state={login.state.reveal()}")
    assert isinstance(found, Denied)
    assert found.sentence.endswith("(unauthorized_client)")
    assert found.mend.startswith("in Admin > REST applications the client needs the authorization code grant")


def test_a_servers_words_are_made_fit_for_people() -> None:
    """Neither a terminal's escapes nor the login's own secrets come back in them, and they are cut."""
    assert LOGIN.verifier is not None
    said = f"\x1b]0;own\x07{STATE} {LOGIN.verifier.reveal()} \u202e" + "x" * 400
    found = read_redirect(LOGIN, brought(error="odd", error_description=said))
    assert isinstance(found, Denied)
    assert found.sentence.isprintable()
    assert STATE not in found.sentence
    assert LOGIN.verifier.reveal() not in found.sentence
    assert len(found.sentence) < 300


@given(st.text())
def test_no_text_makes_it_raise_or_granted(text: str) -> None:
    """Without the state nothing is granted, and nothing is an answer."""
    assume(STATE not in text)
    assert isinstance(read_redirect(LOGIN, text), Stranger)


_PARTS = """
    http:// https:// // 127.0.0.1 localhost [::1] [ :4711 acme.processmaker.net /callback /pm/oauth/authorize
    ? & = # @ ; % %00 { < > " code state error access_denied
"""
_WORDS = st.sampled_from([*_PARTS.split(), CODE, "\n", " ", "\ud800"])


@given(st.lists(st.one_of(_WORDS, st.text(max_size=3))).map("".join))
def test_no_address_without_the_state_is_an_answer(text: str) -> None:
    """Not even one that is put together from the right parts."""
    assert isinstance(read_redirect(LOGIN, text), Stranger)


@given(
    st.lists(st.one_of(_WORDS, st.just(STATE), st.just(f"state={STATE}&code={CODE}"), st.text(max_size=3))).map("".join)
)
def test_no_address_with_the_state_makes_it_raise(text: str) -> None:
    """Whatever stands around the right answer, it is one of the three."""
    found = read_redirect(LOGIN, text)
    assert isinstance(found, Granted | Denied | Stranger)
    if not isinstance(found, Stranger):
        assert STATE in "".join(text.split())


@given(st.text(), st.text())
def test_a_wrong_state_is_never_granted(state: str, code: str) -> None:
    """However the parameters are made."""
    assume(state != STATE)
    for fields in ({"code": code}, {"error": code}):
        target = f"/callback?{urlencode({**fields, 'state': state}, errors='replace')}"
        assert isinstance(read_redirect(LOGIN, target), Stranger)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=300))
def test_every_code_that_a_server_may_send_arrives_whole(code: str) -> None:
    """RFC 6749 appendix A.11: printable ASCII, percent-encoded on the way."""
    found = read_redirect(LOGIN, f"/callback?code={quote(code, safe='')}&state={STATE}")
    assert found == Granted(Code(Secret(code), HERE, LOGIN.verifier))
