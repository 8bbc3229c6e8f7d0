"""Reads the secrets of profiles: each source once at a time, few sources together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import trio

from pmcredd import secret_sources
from pmcredd.profiles import LiteralSecret, Profile, SecretSource
from pmcredd.secret import Secret
from pmcredd.secret_sources import SecretUnavailable

READERS = 8  # sources at a time: five hundred `pass`, or two thousand files on a slow disk, would help nobody


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a profile's request needs; what it does not need is None."""

    client_secret: Secret | None
    password: Secret | None
    token: Secret | None


@dataclass(slots=True, eq=False)
class _Reading:
    ended: trio.Event = field(default_factory=trio.Event)
    found: Secret | None = None
    failure: SecretUnavailable | None = None


class SecretReader:
    """Reads secrets where they are now; nothing is remembered.

    Who asks for a source that is being read shares what comes of it, the failure too: two prompts for one passphrase
    would confuse the person before them, and six profiles on one locked keyring would ask six times.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._few = trio.CapacityLimiter(READERS)
        self._under_way: dict[SecretSource, _Reading] = {}
        self.withhold: Collection[str] = frozenset()
        """Environment variables that hold secrets of some profile: no secret command inherits them."""

    async def read(self, profile: Profile) -> Secrets:
        """Read all secrets of a profile.

        Raises:
            SecretUnavailable: one of them cannot be had, and why.
        """
        return Secrets(
            client_secret=await self._read(profile.client_secret),
            password=await self._read(profile.password),
            token=await self._read(profile.token),
        )

    async def _read(self, source: SecretSource | None) -> Secret | None:
        if source is None or isinstance(source, LiteralSecret):
            return None if source is None else source.value
        while (reading := self._under_way.get(source)) is not None:
            await reading.ended.wait()
            if reading.found is not None:
                return reading.found
            if reading.failure is not None:
                raise SecretUnavailable(reading.failure.sentence, reading.failure.mend)
            # Who read it was cancelled: now it is our turn.
        reading = self._under_way[source] = _Reading()
        try:
            async with self._few:
                reading.found = await secret_sources.read(source, environ=self._environ, withhold=self.withhold)
        except SecretUnavailable as failure:
            reading.failure = failure
            raise
        finally:
            del self._under_way[source]
            reading.ended.set()
        return reading.found
