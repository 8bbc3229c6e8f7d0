"""An editor in front of a language server (LSP over stdio): opens a file, and asks what the server would show."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

Json = Mapping[str, Any]


class Editor:
    """One server for one directory; every answer is waited for."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._server.stdin
        assert self._server.stdout
        self._to: IO[bytes] = self._server.stdin
        self._from: IO[bytes] = self._server.stdout
        self._ids = count(1)
        self._diagnostics: dict[str, Sequence[Json]] = {}
        # As a request for what it offers: an editor that can show Markdown, and fills in snippets.
        self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": folder.as_uri(),
                "workspaceFolders": [{"uri": folder.as_uri(), "name": "x"}],
                "capabilities": {},
            },
        )
        self._tell("initialized", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._ask("shutdown", None)
                self._tell("exit", None)
        finally:
            self._to.close()
            self._server.kill()
            self._server.wait()
            self._from.close()

    def open(self, path: Path) -> Sequence[Json]:
        """Open a file and give the mistakes that the server underlines."""
        uri = path.as_uri()
        document = {"uri": uri, "languageId": "toml", "version": 1, "text": path.read_text()}
        self._tell("textDocument/didOpen", {"textDocument": document})
        while uri not in self._diagnostics:
            self._take()
        return self._diagnostics[uri]

    def completions(self, path: Path, line: int, column: int) -> Mapping[str, str]:
        """Give what is offered at a place, counted from 0: each label with its explanation."""
        found = self._ask("textDocument/completion", self._at(path, line, column)) or []
        return {item["label"]: (item.get("documentation") or {}).get("value", "") for item in found}

    def hover(self, path: Path, line: int, column: int) -> str:
        """Give what is shown when the pointer rests on a place, counted from 0."""
        found = self._ask("textDocument/hover", self._at(path, line, column))
        return str(found["contents"]["value"]) if found else ""

    def _at(self, path: Path, line: int, column: int) -> Json:
        return {"textDocument": {"uri": path.as_uri()}, "position": {"line": line, "character": column}}

    def _ask(self, method: str, params: Json | None) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._take()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message.get("result")

    def _tell(self, method: str, params: Json | None) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Json) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._to.flush()

    def _take(self) -> Json:
        length = 0
        while (line := self._from.readline().strip()) or not length:
            assert line, "the language server has ended"
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message: Json = json.loads(self._from.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:  # it asks for the editor's settings: there are none
            items = message["params"].get("items", []) if message.get("params") else []
            self._send({"id": message["id"], "result": [None for _ in items]})
        return message
