"""What the HTTP libraries may not do: write to the log, be needed anew after an upgrade, slow the start."""

import io
import logging
import subprocess
import sys
import textwrap
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest
import trio
import trio.testing
import trustme
from support.asking_upstream import SECRETS, answering, ask, profile_for, server_context, tunnel_to
from support.hostile import hostile as serving

from pmcredd.oauth import Answer
from pmcredd.upstream import NotSent


async def test_the_libraries_log_nothing(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, ca_file: str) -> None:
    """With everything at debug level neither a secret nor a URL's query is logged: not on success, not on failure."""
    log = io.StringIO()  # not caplog, which listens at loggers that do not propagate, too
    for name in ("httpx", "httpcore"):  # as they are before an Upstream is made
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(log)])
    async with AsyncExitStack() as stack:
        for name in ("", "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.DEBUG)
        server = await stack.enter_async_context(
            serving(answering, tls=server_context(authority.issue_cert("127.0.0.1")))
        )
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file, token_path="/t?key=query")
        assert isinstance(await ask(profile), Answer)
        failed = await ask(replace(profile, ca_file=None))
    assert isinstance(failed, NotSent)
    assert log.getvalue() == ""
    assert not any(secret in repr(failed) for secret in (*SECRETS, "query"))


AFTER_AN_UPGRADE = """
    import sys

    import trio

    from pmcredd import oauth, upstream
    from pmcredd.profiles import Grant, Profile
    from pmcredd.secret import Secret

    upstream.preload()

    class NothingLeft:
        def find_spec(self, name, path=None, target=None):
            print("wanted:", name)
            raise ImportError(name)

    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [NothingLeft()]

    async def main(plain, secure, proxy, ca_file):
        for url, more in [
            (plain, {}),
            (secure, {"ca_file": ca_file}),
            (secure, {}),
            ("https://pm.example", {"ca_file": ca_file, "proxy": proxy}),
            ("https://b\\u00fccher.invalid", {"proxy": "environment"}),
            ("http://127.0.0.1:9", {}),
        ]:
            profile = Profile("p", url, Grant.PASSWORD, client_id="3", username="u", **more)
            request = oauth.token_request(profile, client_secret=Secret("s" * 9), password=Secret("p" * 9))
            answer = await upstream.Upstream().send(profile, request)
            print(type(answer).__name__)
            if isinstance(answer, oauth.Answer):
                print(type(oauth.read_answer(profile, request, answer, now=0, secrets=[])).__name__)

    trio.run(main, *sys.argv[1:])
"""


async def test_an_upgrade_on_disk_breaks_no_renewal(authority: trustme.CA, ca_file: str) -> None:
    """After preload() requests work, and fail, with every import switched off: by plain http, TLS, proxy and name."""
    late = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nRetry-After: Thu, 01 Jan 1970 00:01:00 GMT\r\nX-Name: M\xfcller\r\n"
    async with (
        serving(partial(answering, status="429 Too Many Requests", headers=late)) as plain,
        serving(answering, tls=server_context(authority.issue_cert("127.0.0.1", "pm.example"))) as secure,
        serving(tunnel_to(secure.port)) as proxy,
    ):
        command = [sys.executable, "-P", "-c", textwrap.dedent(AFTER_AN_UPGRADE)]
        result = await trio.run_process(
            [*command, plain.url, f"https://127.0.0.1:{secure.port}", proxy.url, ca_file],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert result.stdout.decode().split() == [
        *("Answer", "Refusal"),
        *("Answer", "Token"),
        "NotSent",
        *("Answer", "Token"),
        "NotSent",
        "NotSent",
    ]


def test_httpx_is_not_loaded_at_start() -> None:
    """The daemon answers its first `get` from the store before it has loaded an HTTP client."""
    late = "{'httpx', 'httpcore', 'truststore', 'email.utils'}"
    code = f"import sys; before = set(sys.modules); import pmcredd.upstream; print(*{late} & set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
