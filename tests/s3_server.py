"""moto_server with conditional writes that are atomic, as those of S3 are: moto looks first, then writes, and threads come between.

Run as ``python s3_server.py -H HOST -p PORT``.
"""

from __future__ import annotations

import threading
from typing import Any

from moto import server

CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH")
TURN = threading.Lock()


class OneAtATime(server.DomainDispatcherApplication):
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and any(name in environ for name in CONDITIONS):
            with TURN:
                return super().__call__(environ, start_response)
        return super().__call__(environ, start_response)


if __name__ == "__main__":
    server.DomainDispatcherApplication = OneAtATime
    server.main()
