"""The answers that a fault puts in place of the real one: the throttle, maintenance, a proxy, a lost request."""

from email.utils import formatdate
from math import ceil

from pmcredd.sandbox import api, passport
from pmcredd.sandbox.inbound import Inbound, Reply, html_reply


def stand_in(name: str, request: Inbound, *, seconds: float | None, now: float) -> Reply:
    """Make the answer of that name; `seconds` becomes a Retry-After, `now` is the server's clock (unix time)."""
    kind, _, form = name.partition("-")
    match kind:
        case "429":
            reply = passport.too_many(request).plus(("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "0"))
        case "500":
            reply = api.server_error(request)
        case "502":
            reply = html_reply(502, "502 Bad Gateway")
        case "503":
            # As `artisan down --render` does it: a page for everybody, whatever Accept says.
            reply = html_reply(503, "Service Unavailable").plus(*passport.TENANT)
        case "504":
            reply = html_reply(504, "504 Gateway Time-out")
        case "login":
            reply = passport.to_login()
        case _:
            reply = html_reply(200, "Log in").plus(*passport.TENANT)
    if seconds is None:
        return reply
    told = formatdate(ceil(now + seconds), usegmt=True) if form == "date" else str(ceil(seconds))
    return reply.plus(("retry-after", told))
