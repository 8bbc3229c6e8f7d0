"""The sandbox as a command: its options, and running it until a signal comes."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

from pmcredd.sandbox.faults import parse_fault
from pmcredd.sandbox.settings import Settings, read_lifetime, read_offset, read_throttle

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
            type=_typed(read_lifetime),
            help=f"{what}: 30s, 8h, 2d (default: as the real ones)",
        )
    parser.add_argument(
        "--throttle",
        metavar="N|off",
        type=_typed(read_throttle),
        default=_DEFAULTS.throttle,
        help="requests a minute from one address to the token endpoint of ProcessMaker 4 (default: %(default)s)",
    )
    parser.add_argument(
        "--clock-offset",
        metavar="TIME",
        type=_typed(read_offset),
        default=_DEFAULTS.clock_offset,
        help="the servers' clocks are ahead by so much: 10m; or behind: --clock-offset=-10m",
    )
    parser.add_argument(
        "--fault",
        metavar="FAULT",
        action="append",
        type=_typed(parse_fault),
        default=[],
        help="what goes wrong, KIND[=TIME][:COUNT][@PERCENT%%][,NAME=VALUE]...: lose-answer:3 loses the next three "
        "answers after acting, 503@10%% refuses every tenth request; may be given again (see docs/sandbox.md)",
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
        clock_offset=args.clock_offset,
        faults=tuple(args.fault),
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


_T = TypeVar("_T")


def _typed(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let argparse tell what is wrong with a value: of a plain ValueError it keeps the text to itself."""

    def read_argument(text: str) -> _T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_argument
