"""What a person has to do in ProcessMaker before a profile can work: which client to make, which boxes to tick."""

from pmcredd.authorization import ANY_PORT
from pmcredd.processmaker import GENERATIONS
from pmcredd.profiles import Grant

_GRANTS = {
    Grant.PASSWORD: "as a ProcessMaker user, whose name and password you know",
    Grant.AUTHORIZATION_CODE: "as whoever logs in with the browser; works with SSO, LDAP and two factors",
    Grant.PERSONAL_ACCESS_TOKEN: "a token that a user made in ProcessMaker; nothing can renew it",
    Grant.CLIENT_CREDENTIALS: "as an Auth Client alone, without a user",
}

_ONE_CLIENT_PER_GRANT = "Use one client for one grant: a client with more boxes ticked fails in ways hard to explain."
_WHERE_IT_IS = "The client id is the number in the list; the secret is beside it, to be copied."
_CLIENT_OF_3 = (
    "In ProcessMaker, as a user with the permission PM_REST_API_APPLICATIONS: {page}, then New.",
    "The client id and the secret are shown when it is made.",
)

_ADVICE = {
    (4, Grant.PASSWORD): (
        "In ProcessMaker, as an administrator: {page}, then + Auth Client.",
        "Tick the box of the Password grant and no other.",
        _ONE_CLIENT_PER_GRANT,
        _WHERE_IT_IS,
        "The user is named by the user name, not by the e-mail address; one who logs in by SSO or LDAP will not do.",
    ),
    (4, Grant.CLIENT_CREDENTIALS): (
        "In ProcessMaker, as an administrator: {page}, then + Auth Client.",
        "There is no box for client_credentials: every client can. Tick the Password box, as one must be ticked.",
        _WHERE_IT_IS,
    ),
    (4, Grant.AUTHORIZATION_CODE): (
        "In ProcessMaker, as an administrator: {page}, then + Auth Client.",
        "Tick the box of the Authorization Code grant and no other: with a second box the login fails at its end.",
        f"As Redirect URL enter exactly {ANY_PORT}",
        "(ProcessMaker before 4.3 compares the port too: enter one, and give the same address as --redirect-uri.)",
        _WHERE_IT_IS,
    ),
    (4, Grant.PERSONAL_ACCESS_TOKEN): (
        "In ProcessMaker: your picture at the top right, Edit Profile, API Tokens, then + Token.",
        "For another user, as an administrator: Admin > Users, edit the user, API Tokens.",
        "Copy the token at once: it is shown only once.",
    ),
    (3, Grant.PASSWORD): _CLIENT_OF_3,
    (3, Grant.AUTHORIZATION_CODE): (
        *_CLIENT_OF_3,
        "As its callback URL enter an address of this machine with a free port, such as http://127.0.0.1:8971/callback,",
        "and the same, to the letter, below.",
    ),
    (3, Grant.CLIENT_CREDENTIALS): (
        *_CLIENT_OF_3,
        "Such a token has no user: what belongs to a user will not work with it.",
    ),
}


def grants(generation: int) -> list[tuple[str, str]]:
    """Give the grants that there are, the most useful one first, and what each means for a person."""
    return [
        (grant.value, about)
        for grant, about in _GRANTS.items()
        if generation != 3 or grant is not Grant.PERSONAL_ACCESS_TOKEN
    ]


def objection(generation: int, grant: Grant) -> str:
    """Say why a grant cannot be had; empty if it can."""
    if grant is Grant.PERSONAL_ACCESS_TOKEN and generation == 3:
        return "ProcessMaker 3 has no personal access tokens"
    return ""


def advice(generation: int, grant: Grant) -> list[str]:
    """Give the lines to show before the questions about the client and the user."""
    page = GENERATIONS[generation].clients_page
    return [line.format(page=page) for line in _ADVICE.get((generation, grant), ())]
