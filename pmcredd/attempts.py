"""Which secrets may be tried: one that a server refused is not sent again by itself, by any profile, after any crash.

A secret is known by a key: a salted scrypt of it, with the token endpoint, the client and the user. Until a key has
passed once in this process, its tries go one after the other, and each is committed before it is sent: ten profiles
with one wrong password send it once. A key that has passed is not held up any more, not even by a full disk.
"""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVarTuple

import trio

from pmcredd import processmaker
from pmcredd.life import Reason
from pmcredd.profiles import Profile
from pmcredd.secret import Secret
from pmcredd.secret_reader import Secrets
from pmcredd.store import Stop, Store, StoreProblem
from pmcredd.telling import log
from pmcredd.worker import Worker

STRETCH = 4096  # scrypt's n: 4 MiB of memory, some 10 ms for each new secret

Keys = Mapping[Reason, str]
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A secret that must not be tried, and why (text for people)."""

    reason: Reason
    sentence: str


class Attempts:
    """The tries of all profiles.

    Args:
        store: what must outlive a crash; used through `worker`.
        stretcher: where scrypt runs: not in `worker`, whose saves it would keep waiting.
    """

    def __init__(self, store: Store, worker: Worker, stretcher: Worker) -> None:
        self._store = store
        self._worker = worker
        self._stretcher = stretcher
        self._stretched: dict[bytes, bytes] = {}
        self._passed: set[str] = set()
        self._alone: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)

    async def keys(self, profile: Profile, secrets: Secrets) -> Keys:
        """Name the secrets of a profile's request."""
        endpoint, client, user = processmaker.token_url(profile), profile.client_id or "", profile.username or ""
        keys = {}
        if secrets.client_secret is not None:
            # The grant belongs to it: a client that lacks one grant's box is refused in the same words as a wrong one.
            keys[Reason.BAD_CLIENT] = await self._key(secrets.client_secret, endpoint, client, profile.grant)
        if secrets.password is not None:
            keys[Reason.BAD_CREDENTIALS] = await self._key(secrets.password, endpoint, client, user)
        return keys

    async def refused(self, keys: Keys) -> Refusal | None:
        """Say whether one of the secrets was refused before.

        Raises:
            StoreProblem: the store cannot be read.
        """
        for reason, key in keys.items():
            if key not in self._passed and (stop := await self._worker.do(self._store.stop, key)):
                return Refusal(reason, stop.sentence)
        return None

    @asynccontextmanager
    async def one_at_a_time(self, keys: Keys) -> AsyncIterator[None]:
        """Let nobody else try these secrets meanwhile, unless they are known to be right."""
        async with AsyncExitStack() as stack:
            for key in sorted(keys.values()):  # in one order for all, or two would wait for each other
                if key not in self._passed:
                    await stack.enter_async_context(self._alone[key])
            yield

    async def begin(self, keys: Keys) -> None:
        """Commit that the secrets are about to be sent.

        Raises:
            StoreProblem: it cannot be committed, so they must not be sent.
        """
        if unsure := [key for key in keys.values() if key not in self._passed]:
            await self._worker.do(self._store.begin_tries, unsure)

    async def end(self, keys: Keys, refusal: Refusal | None) -> None:
        """Record how the try ended; None is for every end that says nothing about the secrets."""
        unsure = [key for key in keys.values() if key not in self._passed]
        if refusal is not None and (key := keys.get(refusal.reason)) is not None:
            self._passed.discard(key)
            await self._record(self._store.refuse, key, Stop(refusal.reason, refusal.sentence))
            unsure = [each for each in unsure if each != key]
        if unsure:
            await self._record(self._store.end_tries, unsure)

    async def passed(self, keys: Keys) -> None:
        """Record that the server took the secrets."""
        if unsure := [key for key in keys.values() if key not in self._passed]:
            self._passed.update(unsure)
            await self._record(self._store.clear_tries, unsure)

    async def forgive(self, keys: Keys) -> None:
        """Let the secrets be tried again: a person said so.

        Raises:
            StoreProblem: it cannot be recorded.
        """
        await self._worker.do(self._store.clear_tries, list(keys.values()))

    async def _record(self, write: Callable[[*Ts], None], *values: *Ts) -> None:
        try:
            await self._worker.do(write, *values)
        except StoreProblem as error:
            # On disk it stays as it was before, which is the more careful of the two.
            log.warning("%s", error.message)

    async def _key(self, secret: Secret, *parts: str) -> str:
        # In memory the digest is enough to recognise a secret; on disk stands what is made with scrypt, since a
        # password that people choose must not be guessed from the store.
        name = hashlib.sha256(secret.reveal().encode()).digest()
        if name not in self._stretched:
            self._stretched[name] = await self._stretcher.do(_stretch, secret, self._store.salt)
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self._stretched[name]).hexdigest()


def _stretch(secret: Secret, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.reveal().encode(), salt=salt, n=STRETCH, r=8, p=1, dklen=32)
