"""pmcredd keeps fresh ProcessMaker access tokens and hands them out over a Unix socket."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmcredd.async_client import get_token_async, reject_token_async
    from pmcredd.client import AccessToken, NoDaemon, PmcredError, get_token, reject_token

__version__ = "0.1.0"  # the build reads it here; to ask importlib.metadata would cost six bare interpreters

__all__ = [
    "AccessToken",
    "NoDaemon",
    "PmcredError",
    "__version__",
    "get_token",
    "get_token_async",
    "reject_token",
    "reject_token_async",
]


def __getattr__(name: str) -> object:
    # Lazily: the daemon needs none of this to start, and who does not wait in an event loop needs no anyio.
    if name.endswith("_async") and name in __all__:
        from pmcredd import async_client

        return getattr(async_client, name)
    if name in __all__:
        from pmcredd import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
