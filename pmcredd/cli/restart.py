"""Which command starts a running daemon anew: its service's, where systemd runs it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmcredd.cli.doctor.judge_host import Process


def command(process: "Process | None") -> str:
    """Give the command for the daemon in this process; None is one that cannot be seen from here."""
    if process is not None and process.unit is not None and "pmcred" in process.unit:
        return f"systemctl --user restart {process.unit}"
    return "pmcred stop, then start pmcredd again"
