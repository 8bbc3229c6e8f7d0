"""The daemon on this machine: its answers, its process and its units, seen once and judged together."""

import time
from collections.abc import Mapping
from importlib import metadata

import pmcredd
from pmcredd.cli import restart
from pmcredd.cli.doctor import judge_daemon, judge_host
from pmcredd.cli.doctor.daemon import ask_daemon
from pmcredd.cli.doctor.files import Read, look_at_socket
from pmcredd.cli.doctor.finding import DAEMON, PROFILES, Finding, Level
from pmcredd.cli.doctor.host import ask_manager, lingers, read_process
from pmcredd.cli.doctor.judge_daemon import Answers, Block, NoAnswer, Versions
from pmcredd.cli.doctor.judge_host import Process, Units
from pmcredd.cli.doctor.secrets import Where
from pmcredd.profiles import secret_variables


class Machine:
    """What was seen on this machine: the daemon's answers, its process and its units."""

    answers: Answers | NoAnswer | None = None
    process: Process | None = None
    units: Units | None = None

    async def look(self, environ: Mapping[str, str], socket: str | None, only: str | None) -> None:
        """Ask the user manager, then the daemon, unless that would start it."""
        self.units = await ask_manager(environ)
        if self.units is not None and self.units.asleep and socket is None and "PMCRED_SOCKET" not in environ:
            return
        self.answers = await ask_daemon(environ, socket, only)
        if isinstance(self.answers, Answers):
            self.process = read_process(self.answers.hello.get("pid", ""))

    def where(self, environ: Mapping[str, str], read: Read) -> Where:
        """Give where secrets are read."""
        unit = self.process.unit if self.process is not None else None
        ours = unit if unit is not None and "pmcred" in unit else None
        withhold = secret_variables(read.config.profiles.values())
        return Where(environ, withhold, ours, running=isinstance(self.answers, Answers))

    def findings(self, read: Read, only: str | None) -> list[Finding]:
        """Judge all of it but the states of profiles."""
        found = []
        match self.answers:
            case Answers() as answers:
                found += look_at_socket(answers.socket)
                found += self._daemon(answers, read, only)
            case NoAnswer() as absent:
                found.append(judge_daemon.absent(absent, start=self._start()))
            case None:
                found.append(
                    DAEMON.warning("socket", "the daemon does not run, and was not asked: that would start it")
                )
        found += judge_host.service(self.process, self.units)
        manager_runs_it = self.units is not None and self.units.service.there
        if manager_runs_it and (on := lingers()) is not None:
            found.append(judge_host.linger(lingers=on))
        return found

    def _daemon(self, answers: Answers, read: Read, only: str | None) -> list[Finding]:
        hello = answers.hello
        found = [DAEMON.ok("socket", f"{answers.socket} is answered by process {hello.get('pid', '?')}")]
        found += judge_daemon.versions(hello, _versions(), restart=restart.command(self.process))
        found += judge_daemon.told(hello)
        if not any(each.area == PROFILES and each.level is Level.PROBLEM for each in read.findings):
            found += judge_daemon.in_step(read.config.profiles.values(), answers, only=only)
        if self.process is None:
            return [*found, DAEMON.ok("memory", "its process cannot be seen from here (another container?)")]
        return [*found, *judge_host.hardening(self.process)]

    def states(self) -> Mapping[str, Block]:
        """Give the status of the daemon's profiles, by name."""
        return self.answers.states if isinstance(self.answers, Answers) else {}

    def state(self, name: str) -> list[Finding]:
        """Judge how the daemon keeps a profile's token."""
        return judge_daemon.state(self.states()[name], time.time()) if name in self.states() else []

    def _start(self) -> str:
        if self.units is None:
            return "pmcredd & (or, for one request without a daemon: pmcred get NAME --oneshot)"
        if not self.units.service.there:
            return "pmcred service install"
        return "systemctl --user start pmcredd.socket pmcredd.service"


def _versions() -> Versions:
    try:
        return Versions(pmcredd.__version__, metadata.version("pmcredd"))
    except metadata.PackageNotFoundError:
        return Versions(pmcredd.__version__, None)
