"""The HTML of the sandbox's login and approval pages: self-contained, without scripts, in light and dark."""

from html import escape

from pmcredd.sandbox.inbound import Reply
from pmcredd.sandbox.world import Client, User

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --dim: #556373; --page: #eef1f5; --card: #fff; --line: #7d8a99;
  --accent: #0b5cad; --on-accent: #fff; --bad: #a8071a; --bad-page: #fdecee; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf3; --dim: #a9b6c4; --page: #12171d; --card: #1c242d;
  --line: #75859a; --accent: #7db7f5; --on-accent: #0c1620; --bad: #ff9ca5; --bad-page: #3a1a1f; } }
.three { --accent: #a34400; }
@media (prefers-color-scheme: dark) { .three { --accent: #ffb27a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 0 auto; padding: 1.5rem; background: var(--card); border-radius: .5rem;
  border-top: .3rem solid var(--accent); overflow-wrap: anywhere; }
.three main { border-radius: 0; }
h1 { margin: 0 0 1rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
label { display: block; margin: 0 0 1rem; font-weight: 600; }
input { display: block; width: 100%; margin-top: .25rem; padding: .5rem; font: inherit; color: inherit;
  background: var(--page); border: 1px solid var(--line); border-radius: .25rem; }
button { padding: .5rem 1.25rem; font: inherit; font-weight: 600; cursor: pointer; border-radius: .25rem;
  color: var(--on-accent); background: var(--accent); border: 1px solid var(--accent); }
button.quiet { color: var(--ink); background: transparent; border-color: var(--line); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); }
.row { display: flex; flex-wrap: wrap; gap: .75rem; }
.alert { padding: .5rem .75rem; color: var(--bad); background: var(--bad-page); border-left: .25rem solid var(--bad); }
.brand, footer { font-size: .875rem; color: var(--dim); }
.below { margin: 1rem 0 0; }
footer { max-width: 26rem; margin: 1rem auto 0; }
"""
# No form-action: Chromium applies it to the redirect that follows, which leads to the client.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_PEOPLE = "demo / demo-password, other / other-password"


def login_four(*, csrf: str, alert: str, typed: str) -> Reply:
    """The login page of ProcessMaker 4."""
    return _page(4, "Log in", f"{_alert(alert)}{_login_form('/login', typed, hidden={'_token': csrf})}", hint=True)


def login_three(*, action: str, alert: str, typed: str) -> Reply:
    """The login page of ProcessMaker 3; the form goes to `action`."""
    return _page(3, "Login", f"{_alert(alert)}{_login_form(action, typed)}", hint=True)


def approval_four(client: Client, user: User, *, csrf: str, state: str, auth_token: str) -> Reply:
    """Passport's approval page: one form that approves, and one that denies."""
    hidden = {"_token": csrf, "state": state, "client_id": client.id, "auth_token": auth_token}
    form = '<form method="post" action="/oauth/authorize">'
    deny = _hidden({"_method": "DELETE", **hidden})
    body = (
        f"<p><strong>{escape(client.name)}</strong> is requesting permission to access your account.</p>"
        f"<p>You are logged in as <strong>{escape(user.username)}</strong>.</p>"
        '<div class="row">'
        f'{form}{_hidden(hidden)}<button id="authorize">Authorize</button></form>'
        f'{form}{deny}<button id="cancel" class="quiet">Cancel</button></form></div>'
        '<p class="brand below"><a href="/logout">Log in as somebody else</a></p>'
    )
    return _page(4, "Authorization Request", body)


def approval_three(client: Client, user: User, *, action: str, login: str) -> Reply:
    """The approval page of ProcessMaker 3: one form, in which the name of the button tells what is decided."""
    body = (
        f"<p>{escape(user.firstname)} {escape(user.lastname)} ({escape(user.username)})</p>"
        f"<p>The application <strong>{escape(client.name)}</strong> is requesting access to your account.</p>"
        "<p>Do you approve?</p>"
        f'<form method="post" action="{escape(action)}"><div class="row">'
        '<button id="allow" name="approve" value="Accept">Accept</button>'
        '<button id="deny" class="quiet" name="cancel" value="Deny">Deny</button></div></form>'
        f'<p class="brand below"><a href="{escape(login)}">Log in as somebody else</a></p>'
    )
    return _page(3, "Authorization Server", body)


def home(user: User) -> Reply:
    """Where a login leads that nobody was waiting for."""
    body = f'<p>You are logged in as <strong>{escape(user.username)}</strong>.</p><p><a href="/logout">Log out</a></p>'
    return _page(4, "Home", body)


def notice(status: int, title: str) -> Reply:
    """An error page of Laravel's: little more than its title."""
    return _page(4, f"{status} {title}", '<p><a href="/">Home</a></p>', status=status)


def _page(generation: int, title: str, body: str, *, status: int = 200, hint: bool = False) -> Reply:
    name = f"ProcessMaker {generation} (sandbox)"
    footer = f"<footer>A look-alike of ProcessMaker. Its users: {_PEOPLE}.</footer>" if hint else ""
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - {name}</title><style>{_STYLE}</style></head>"
        f'<body class="{"three" if generation == 3 else "four"}"><main><p class="brand">{name}</p>'
        f"<h1>{escape(title)}</h1>{body}</main>{footer}</body></html>\n"
    )
    headers = (
        ("content-type", "text/html; charset=UTF-8"),
        ("cache-control", "no-cache, private"),
        ("content-security-policy", _POLICY),
    )
    return Reply(status, headers, text.encode())


def _alert(text: str) -> str:
    return f'<p class="alert" role="alert">{escape(text)}</p>' if text else ""


def _login_form(action: str, typed: str, hidden: dict[str, str] | None = None) -> str:
    return (
        f'<form method="post" action="{escape(action)}">{_hidden(hidden or {})}'
        f'<label>Username<input name="username" value="{escape(typed)}" autocomplete="username" autocapitalize="none"'
        ' spellcheck="false" required autofocus></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" required></label>'
        '<button id="login">Log in</button></form>'
    )


def _hidden(fields: dict[str, str]) -> str:
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())
