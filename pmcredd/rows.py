"""Which profiles there are: opened with what the store has of them, followed through reloads, brought back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pmcredd import processmaker, telling, urls
from pmcredd.clock import Clock
from pmcredd.driver import Driver
from pmcredd.life import Changed, Life, Reason, Renewal, Restored, Retry
from pmcredd.profiles import Config, Profile
from pmcredd.row import Row
from pmcredd.store import Account, Saved, Store, StoreProblem, identity
from pmcredd.telling import Failure, ReloadReport, log
from pmcredd.validity import Moment, Terms
from pmcredd.wire import Code
from pmcredd.worker import Worker

TOO_MANY_TO_COMPARE = 500  # names: a did-you-mean among ten thousand would hold up everybody


class Rows:
    """All profiles, by name.

    Args:
        store: where tokens outlive the process; only ever used through `worker`.
        driver: carries out what the lifecycle decides.
        clock: time.
    """

    def __init__(self, *, store: Store, worker: Worker, driver: Driver, clock: Clock) -> None:
        self._store = store
        self._worker = worker
        self._driver = driver
        self._clock = clock
        self._rows: dict[str, Row] = {}
        # By identity: rows that no profile matches any more. One may still wait for an answer, and its profile may come
        # back (a typo in a url, for ten seconds) before that arrives: a second row would spend its refresh token twice.
        self._parked: dict[str, Row] = {}
        self.stopping = False

    def __iter__(self) -> Iterator[Row]:
        return iter([self._rows[name] for name in sorted(self._rows)])

    def everything(self) -> list[Row]:
        """Give all rows, those too that no profile matches any more."""
        return [*self._rows.values(), *self._parked.values()]

    def check(self, row: Row) -> None:
        """See that this profile is still served.

        Raises:
            Failure: it is not, and why.
        """
        if self.stopping:
            raise Failure(Code.STOPPING, "pmcredd is stopping", "pmcred status")
        if row.retired:
            raise Failure(
                Code.NO_SUCH_PROFILE, f"the profile {row.profile.name} was changed or removed meanwhile", "ask again"
            )

    def parked(self, name: str) -> list[Row]:
        """Give the rows that profiles of this name once had, under another url, another user, another grant."""
        return [row for row in self._parked.values() if row.profile.name == name]

    def forget(self, name: str) -> None:
        """Keep nothing of a profile that is about to be removed."""
        for row in self.parked(name):
            del self._parked[identity(row.profile)]
        if name in self._rows:
            self._rows[name].forgotten = True

    async def open(self, opened: Iterable[Profile], *, leases_known: bool) -> None:
        """Bring profiles to life with what the store has of them; `leases_known`: no lease runs but those there."""
        by_identity = {identity(profile): profile for profile in opened}
        self._admit(by_identity, *await self._load(by_identity), leases_known=leases_known)

    async def follow(self, config: Config) -> ReloadReport:
        """Follow a new configuration: no profile that is in it, before and after, is missing for an instant."""
        new = config.profiles
        wanted = {identity(profile): profile for profile in new.values()}
        known = {identity(row.profile) for row in self._rows.values()} | self._parked.keys()
        stored, accounts = await self._load(wanted.keys() - known)
        # From here to the end of the swap there is no await.
        old = {name: row.profile for name, row in self._rows.items()}
        added = tuple(sorted(new.keys() - old.keys()))
        removed = tuple(sorted(old.keys() - new.keys()))
        changed = tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name]))
        opened = {identity(new[name]): new[name] for name in added}
        for name in removed:
            self._retire(name)
        for name in changed:
            row = self._rows[name]
            if identity(row.profile) == identity(new[name]):
                self._change(row, new[name])
            else:
                self._retire(name)
                opened[identity(new[name])] = new[name]
        self._admit(opened, stored, accounts, leases_known=False)
        for row in self._rows.values():
            # What a person may have mended is tried again; a secret that was refused is not (its stop is in the store).
            mended = row.life.renewal is Renewal.WAITING and row.profile.name in changed
            if row.life.reason is Reason.LOGGED_OUT:
                continue  # until somebody logs in
            if row.life.renewal is Renewal.STOPPED or row.life.terms.rule is processmaker.Renewal.NEVER or mended:
                self._driver.happen(row, Retry())
        unchanged = tuple(sorted(new.keys() - set(added) - set(changed)))
        return ReloadReport(added, changed, removed, unchanged, tuple(map(str, config.warnings)))

    async def park(self, profiles_of: Config) -> None:
        """Mark in the store what no profile matches, and forget what none matched for 30 days."""
        live = {identity(profile) for profile in profiles_of.profiles.values()}
        try:
            await self._worker.do(self._store.park, live, self._clock.now().wall)
        except StoreProblem as error:
            log.warning("%s", error.message)

    def resolve(self, target: str) -> Row:
        """Find a profile by its name or a URL.

        Raises:
            Failure: there is none, or more than one.
        """
        row = self._rows.get(target)
        if row is not None:
            return row
        return self._rows[find([row.profile for row in self._rows.values()], target).name]

    async def _load(self, identities: Iterable[str]) -> tuple[dict[str, Saved], dict[str, Account]]:
        wanted = list(identities)
        try:
            accounts = await self._worker.do(self._store.accounts, wanted)
            return await self._worker.do(self._store.load, wanted), accounts
        except StoreProblem as error:
            log.error("saved tokens cannot be read: %s", error.message)
            return {}, {}

    def _admit(
        self,
        opened: dict[str, Profile],
        stored: dict[str, Saved],
        accounts: dict[str, Account],
        *,
        leases_known: bool,
    ) -> None:
        now = self._clock.now()
        for key, profile in opened.items():
            if (parked := self._parked.pop(key, None)) is not None:
                parked.retired = False
                self._rows[profile.name] = parked
                self._change(parked, profile)
                self._driver.resume(parked)
                continue
            life, restored = revive(profile, stored.get(key), accounts.get(key), now, leases_known=leases_known)
            row = self._rows[profile.name] = Row(profile, life, leased_on_disk=restored.leased_until)
            self._driver.happen(row, restored)
            self._driver.tell(row)

    def _change(self, row: Row, profile: Profile) -> None:
        row.profile, row.ready = profile, None
        self._driver.happen(row, Changed(terms_of(profile)))

    def _retire(self, name: str) -> None:
        row = self._rows.pop(name)
        row.retired = True
        if not row.forgotten:
            self._parked[identity(row.profile)] = row
        self._driver.tell(row)


def revive(
    profile: Profile, saved: Saved | None, account: Account | None, now: Moment, *, leases_known: bool
) -> tuple[Life, Restored]:
    """Give the life that a profile comes to with what the store has of it, and the event that begins it."""
    account = account or Account(None)
    life = Life(terms=terms_of(profile), asked_at=now.wall, user=account.user)
    if account.logged_out:
        return replace(life, serial=account.logged_out), Restored(None, logged_out=telling.logged_out(profile))
    if saved is None:
        return life, Restored(None)
    life = replace(
        life,
        serial=saved.serial,
        asked_at=saved.asked_at,
        past=saved.past,
        proved=saved.proved,
        dead=saved.dead,
        tries=saved.tries,
    )
    # A job that was promised a token did not survive a reboot; one that did is of this boot.
    same = saved.held.issued.boot_id == now.boot_id
    return life, Restored(saved.held, saved.leased_until if same else 0.0, leases_known=leases_known)


def terms_of(profile: Profile) -> Terms:
    """Give what a profile says about its renewal."""
    rule = processmaker.renewal(profile)
    server = processmaker.generation(profile)
    lifetime = profile.refresh_token_lifetime or server.refresh_lifetime
    refreshes = rule in {processmaker.Renewal.REFRESH_QUIETLY, processmaker.Renewal.REFRESH_DISRUPTIVELY}
    return Terms(
        rule=rule,
        margin=profile.renew_margin,
        refresh_lifetime=lifetime if refreshes else None,
        timeout=profile.timeout,
        probes=server.tells_tokens,
    )


def find(known: Sequence[Profile], target: str) -> Profile:
    """Find the profile of this name, or the only one that is for this URL.

    Raises:
        Failure: there is none, or more than one.
    """
    if "://" not in target:
        names = {profile.name: profile for profile in known}
        if target in names:
            return names[target]
        import difflib

        few = len(known) <= TOO_MANY_TO_COMPARE
        close = difflib.get_close_matches(target, names, n=1) if few else []
        hint = f"did you mean {close[0]}?" if close else "pmcred profile list"
        raise Failure(Code.NO_SUCH_PROFILE, f"no profile is named {target}", hint)
    found = urls.match_url(known, target)
    if urls.has_userinfo(target):
        target = "a URL with a user name or a password in it"  # which is not to be repeated
    if not found:
        raise Failure(Code.NO_SUCH_PROFILE, f"no profile is for {target}", "pmcred profile list")
    if len(found) > 1:
        listed = ", ".join(sorted(profile.name for profile in found))
        raise Failure(Code.AMBIGUOUS, f"several profiles are for {target}: {listed}", "name one of them")
    return found[0]
