"""Reminds the log, once for each token, of what only a person can renew."""

import trio

from pmcredd.keeper import Keeper
from pmcredd.telling import log

LOOK_EVERY = 3600.0  # seconds; a reminder of two weeks may be an hour late, or a night's suspend


async def remind(keeper: Keeper) -> None:
    """Look at all tokens now and then, until cancelled."""
    told: set[tuple[str, str | None]] = set()
    while True:
        warned = {
            (state.profile.name, state.fingerprint): state.warning
            for state in keeper.status([])
            if state.warning is not None
        }
        for (name, fingerprint), warning in warned.items():
            if (name, fingerprint) not in told:
                log.warning("%s: %s (%s)", name, warning.sentence, warning.mend)
        told = set(warned)
        await trio.sleep(LOOK_EVERY)
