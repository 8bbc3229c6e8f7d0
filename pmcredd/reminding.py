"""Reminds people, once for each token, of what only a person can renew: in the log, and by whoever else tells them."""

from collections.abc import Callable

import trio

from pmcredd.keeper import Keeper
from pmcredd.telling import Status, log

LOOK_EVERY = 3600.0  # seconds; a reminder of two weeks may be an hour late, or a night's suspend


async def remind(keeper: Keeper, also: Callable[[Status], None]) -> None:
    """Look at all tokens now and then, until cancelled; `also` is told of each profile that the log is told of."""
    told: set[tuple[str, str | None]] = set()
    while True:
        warned = {
            (state.profile.name, state.fingerprint): (state, state.warning)
            for state in keeper.status([])
            if state.warning is not None
        }
        for key, (state, warning) in warned.items():
            if key not in told:
                log.warning("%s: %s (%s)", state.profile.name, warning.sentence, warning.mend)
                also(state)
        told = set(warned)
        await trio.sleep(LOOK_EVERY)
