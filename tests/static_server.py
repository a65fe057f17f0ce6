"""A small static HTTP server for tests and benchmarks: serves one folder from memory, on a free loopback port that it prints.

Run as ``python static_server.py FOLDER``. It speaks just enough HTTP/1.1 (GET, HEAD, single ranges, If-Match, keep-alive) for an
object-store client, and is fast enough not to hide what the client costs.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

DATE = b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


class StaticProtocol(asyncio.Protocol):
    """One connection; requests may be pipelined, bodies of requests are not expected."""

    folder: Path
    cache: ClassVar[dict[str, tuple[bytes, bytes, str]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
            self.transport.write(self.answer(head))  # type: ignore[attr-defined]

    def answer(self, head: bytes) -> bytes:
        line, _, rest = head.partition(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ", 2)
        found = self.cache.get(target) or self.load(target)
        if found is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        whole, body, etag = found
        lower = rest.lower()
        if b"if-match:" in lower or b"range:" in lower:
            return self.special(method, lower, body, etag)
        return whole[: -len(body)] if method == "HEAD" and body else whole

    def special(self, method: str, headers: bytes, body: bytes, etag: str) -> bytes:
        fields = dict(line.split(b":", 1) for line in headers.split(b"\r\n"))
        wanted = fields.get(b"if-match", b"").strip().decode()
        if wanted and wanted != etag:
            return b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"
        start, stop, status = 0, len(body), b"200 OK"
        extra = b""
        if b"range" in fields:
            first, _, last = fields[b"range"].strip().removeprefix(b"bytes=").partition(b"-")
            start, stop = int(first), min(len(body), int(last) + 1 if last else len(body))
            status, extra = b"206 Partial Content", f"Content-Range: bytes {start}-{stop - 1}/{len(body)}\r\n".encode()
        part = body[start:stop]
        top = b"HTTP/1.1 " + status + b"\r\n" + DATE + extra + f"ETag: {etag}\r\nContent-Length: {len(part)}\r\n\r\n".encode()
        return top if method == "HEAD" else top + part

    @classmethod
    def load(cls, target: str) -> tuple[bytes, bytes, str] | None:
        path = cls.folder / unquote(target.partition("?")[0]).lstrip("/")
        if not path.is_file():
            return None
        body = path.read_bytes()
        etag = '"' + hashlib.md5(body, usedforsecurity=False).hexdigest() + '"'
        head = b"HTTP/1.1 200 OK\r\n" + DATE + f"ETag: {etag}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        cls.cache[target] = found = (head + body, body, etag)
        return found


async def serve(folder: Path) -> None:
    StaticProtocol.folder = folder
    server = await asyncio.get_running_loop().create_server(StaticProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
