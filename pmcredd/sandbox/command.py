"""The sandbox as a command: its options, and running it until a signal comes."""

import argparse
import math
import os
import signal
import sys
from typing import TextIO

from pmcredd import wire
from pmcredd.sandbox.settings import Settings

EXTRA_MISSING = "pmcred sandbox needs the extra: pip install 'pmcredd[sandbox]'"
_DEFAULTS = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sandbox's options to a parser; `run` takes what it parses."""
    parser.add_argument("--port", type=_port, default=0, help="TCP port on 127.0.0.1; the default, 0, takes a free one")
    parser.add_argument(
        "--pm4-version",
        metavar="4.N",
        default=_DEFAULTS.version,
        help="the release of ProcessMaker 4 whose dialect is spoken (default: %(default)s)",
    )
    parser.add_argument("--passport-13", action="store_true", help="speak the dialect of Laravel Passport 13")
    parser.add_argument(
        "--workspace",
        type=_workspace,
        default=_DEFAULTS.workspace,
        help="the workspace of ProcessMaker 3 (default: %(default)s)",
    )
    for name, what in (
        ("token", "access tokens live so long"),
        ("refresh", "refresh tokens live so long"),
        ("personal", "personal access tokens live so long"),
    ):
        parser.add_argument(
            f"--{name}-lifetime",
            metavar="TIME",
            type=_lifetime,
            help=f"{what}: 30s, 8h, 2d (default: as the real ones)",
        )
    parser.add_argument(
        "--throttle",
        metavar="N|off",
        type=_throttle,
        default=_DEFAULTS.throttle,
        help="requests a minute from one address to the token endpoint of ProcessMaker 4 (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="print the first line only, and log no requests")


def settings_of(args: argparse.Namespace) -> Settings:
    """Read the settings out of parsed arguments."""
    return Settings(
        version=args.pm4_version,
        passport_13=args.passport_13,
        workspace=args.workspace,
        token_lifetime=args.token_lifetime,
        refresh_lifetime=args.refresh_lifetime,
        personal_lifetime=args.personal_lifetime,
        throttle=args.throttle,
    )


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until SIGINT or SIGTERM; returns the exit status."""
    try:
        import trio

        from pmcredd.sandbox.app import create_app
        from pmcredd.sandbox.serve import ListenError, listen, serve, url_of
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"hypercorn", "starlette"}:
            raise
        return _fail(EXTRA_MISSING)
    from pmcredd.sandbox.greeting import greeting, ready_line
    from pmcredd.sandbox.instances import Sandbox

    def tell(line: str) -> None:
        _say(sys.stderr, line)

    try:
        sandbox = Sandbox(settings_of(args), tell=None if args.quiet else tell)
    except ValueError as error:
        return _fail(str(error), "--pm4-version 4.15", status=2)
    try:
        listener = listen(args.port)
    except ListenError as error:
        return _fail(str(error), "another --port, or none: a free one is found")
    url = url_of(listener)

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def stop() -> None:
                async for _ in signals:
                    return

            async with trio.open_nursery() as nursery:

                async def server(task_status: "trio.TaskStatus[list[str]]") -> None:
                    await serve(create_app(sandbox), listener, stop=stop, task_status=task_status)

                await nursery.start(server)
                # Said only now, when signals are caught and requests are answered.
                _say(sys.stdout, ready_line(url))
                if not args.quiet:
                    _say(sys.stdout, greeting(url, sandbox))

    trio.run(main)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run `python -m pmcredd.sandbox`."""
    parser = argparse.ArgumentParser(
        prog="python -m pmcredd.sandbox",
        description="A ProcessMaker look-alike on a loopback port.",
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except KeyboardInterrupt:  # before the signal receiver stood
        return 130


def _fail(message: str, hint: str = "", *, status: int = 1) -> int:
    _say(sys.stderr, f"pmcred: {message}")
    if hint:
        _say(sys.stderr, f"  try: {hint}")
    return status


def _say(stream: TextIO, text: str) -> None:
    # Whoever started us may read the first line and close: that must not end the sandbox.
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _workspace(text: str) -> str:
    if not (text.isascii() and text.isalnum()) or text in {"users", "oauth", "api"}:
        raise argparse.ArgumentTypeError("a workspace is letters and digits, and not users, oauth or api")
    return text


def _lifetime(text: str) -> float:
    try:
        seconds = wire.parse_duration(text)
    except wire.BadLine as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("a lifetime is longer than nothing")
    return seconds


def _throttle(text: str) -> int | None:
    if text == "off":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1_000_000):
        raise argparse.ArgumentTypeError("a number of requests a minute, or off")
    return int(text)
