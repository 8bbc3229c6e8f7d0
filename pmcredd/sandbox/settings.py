"""What can be chosen about a sandbox."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the two instances behave; lifetimes in seconds, None meaning what a real server does.

    `version` is the ProcessMaker 4 release whose dialect is spoken; `passport_13` puts the dialect of Laravel Passport
    13 on top of it. `throttle` is the number of requests a minute that the token endpoint of ProcessMaker 4 takes from
    one address, None for no limit.
    """

    version: str = "4.15"
    passport_13: bool = False
    workspace: str = "workflow"
    token_lifetime: float | None = None
    refresh_lifetime: float | None = None
    personal_lifetime: float | None = None
    throttle: int | None = 60
