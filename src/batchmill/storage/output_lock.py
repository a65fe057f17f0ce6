"""One run per output folder in an object store: a lock object, made and kept by conditional puts.

Creating it succeeds for one (if-none-match); each heartbeat replaces exactly the version the holder wrote last (if-match), so a holder
that was taken for dead learns it at its next beat. Age is the difference of two times of the store, never of this machine's clock.

The tests hold this against moto_server and Azurite, which honour both conditions on puts as S3 and Azure Blob do. Google's generations
are passed along (``version``), untested. A store that ignores conditions is found out when the lock is taken, and refused. obstore has no
conditional delete, so a release is a beat followed by a delete while the beat is fresh.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any

from batchmill.errors import LedgerFencedError, OutputBusyError, StoreError
from batchmill.storage.object_store import RETRY_TIMEOUT, store_for
from batchmill.storage.store_errors import refusal, store_error
from batchmill.storage.upload import OutputFolder

LOCK_NAME = ".batchmill-lock.json"
HEARTBEAT = 10.0
STALE = 60.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock: the content of the lock object."""

    run_id: str
    run_name: str
    epoch: int
    token: str
    beat: int = 0


class OutputLock:
    """The lock of one run on one output URL.

    ``acquire`` before the first write, ``check`` before each publication, ``release`` at the end; between them a thread beats every
    ``heartbeat`` seconds. A lock without a beat for ``stale`` seconds, or one of an earlier epoch of the same run, is taken over.
    """

    def __init__(
        self,
        url: str,
        run_id: str,
        run_name: str,
        epoch: int,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        heartbeat: float = HEARTBEAT,
        stale: float = STALE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = OutputFolder(url, retry_timeout)
        self._key = self._folder.location.key(LOCK_NAME)
        self._store: Any = store_for(self._folder.location, retry_timeout)
        self._holder = Holder(run_id, run_name, epoch, uuid.uuid4().hex)
        self._version: dict[str, str] = {}
        self._heartbeat, self._stale, self._clock = heartbeat, stale, clock
        self._renewed = 0.0
        self._lost: str | None = None
        self._turn = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock and begin to beat.

        Raises:
            OutputBusyError: another living run holds it.
            LedgerFencedError: a later epoch of this very run holds it.
            StoreError: the store is unreachable, refuses, or knows no conditional puts.
        """
        if not self._put("create"):
            self._take_over()
        self._prove_conditions()
        self._thread = threading.Thread(target=self._keep, name="batchmill-output-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise when the lock may be somebody else's by now.

        Raises:
            LedgerFencedError: it was taken over, or could not be renewed for so long that it may have been.
        """
        if self._lost is None and self._clock() - self._renewed > self._stale:
            self._lost = "its lock could not be renewed in time"
        if self._lost is not None:
            raise LedgerFencedError(
                f"Run {self._holder.run_name} lost its output {self._folder.location}: {self._lost}.", cure="Resume it."
            )

    def beat(self) -> None:
        """Renew the lock once. Trouble on the way to the store is no loss yet; `check` decides.

        Raises:
            LedgerFencedError: somebody took it over.
        """
        with self._turn:
            self.check()
            holder = self._holder
            self._holder = Holder(holder.run_id, holder.run_name, holder.epoch, holder.token, holder.beat + 1)
            if not self._put(self._version):
                self._lost = "another run took it over"
        self.check()

    def release(self) -> None:
        """Stop beating and remove the lock, if it is still ours."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        try:
            # Fresh from a beat the lock cannot be stale, so nobody else's is deleted.
            self.beat()
        except (LedgerFencedError, StoreError):
            return
        self._lost = "it was released"
        self._folder.delete(LOCK_NAME)

    def __enter__(self) -> OutputLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    # ---------------------------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._end.wait(self._heartbeat):
            try:
                self.beat()
            except LedgerFencedError:
                return
            except StoreError:
                continue  # the store may answer at the next beat

    def _put(self, mode: Any) -> bool:
        """Write ourselves into the lock under a condition; False when the condition does not hold."""
        began = self._clock()
        body = json.dumps({name: getattr(self._holder, name) for name in Holder.__slots__}).encode()
        try:
            result = self._store.put(self._key, body, mode=mode)
        except Exception as error:
            if refusal(error, self._folder.location).word not in ("exists", "changed", "missing"):
                raise store_error(error, self._folder.location, "lock") from None
            return self._was_ours(began)
        self._keep_version(result, began)
        return True

    def _was_ours(self, began: float) -> bool:
        """A put whose answer was lost is tried again, by the client or at the next beat, and then refused because of itself."""
        found = self._read()
        if found is None or found[0].token != self._holder.token:
            return False
        self._keep_version(found[1], began)
        return found[0].beat == self._holder.beat or self._put(self._version)

    def _prove_conditions(self) -> None:
        """A store that ignores conditions would let two runs in."""
        try:
            self._store.put(self._key, b"{}", mode="create")
        except Exception as error:
            if refusal(error, self._folder.location).word == "exists":
                return
            raise store_error(error, self._folder.location, "lock") from None
        raise StoreError(f"Cannot lock {self._folder.location}: the store ignores conditional writes.", cure="Write to another store.")

    def _keep_version(self, version: Any, began: float) -> None:
        self._version = {name: version[name] for name in ("e_tag", "version") if version.get(name)}
        self._renewed = began

    def _read(self) -> tuple[Holder, dict[str, str], datetime] | None:
        try:
            answer = self._store.get(self._key)
            content, meta = json.loads(bytes(answer.bytes())), answer.meta
            holder = Holder(**{name: content[name] for name in Holder.__slots__})
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{self._folder.url_of(LOCK_NAME)} is no lock of Batchmill.", cure="Remove it, or choose another output."
            ) from None
        except Exception as error:
            if refusal(error, self._folder.location).word == "missing":
                return None
            raise store_error(error, self._folder.location, "lock") from None
        return holder, {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}, meta["last_modified"]

    def _take_over(self) -> None:
        found = self._read()
        if found is None:
            if not self._put("create"):
                raise OutputBusyError(f"Another run has just taken the output {self._folder.location}.", cure="Choose another output.")
            return
        other, version, beaten = found
        if other.run_id == self._holder.run_id:
            if other.epoch > self._holder.epoch:
                raise LedgerFencedError(f"Run {other.run_name} writes to {self._folder.location} in a later incarnation.")
        elif (age := (self._now() - beaten).total_seconds()) <= self._stale:
            raise OutputBusyError(
                f"Run {other.run_name} ({other.run_id}) writes to {self._folder.location}; its last sign of life is {age:.0f} s old.",
                cure="Wait for its end, cancel it, or choose another output.",
                run=other.run_id,
            )
        if not self._put(version):
            raise OutputBusyError(f"Another run has just taken the output {self._folder.location}.", cure="Choose another output.")

    def _now(self) -> datetime:
        """The time by the store's clock: that of an object written now."""
        name = f"{LOCK_NAME}.{self._holder.token}"
        self._folder.write(name, b"")
        try:
            meta = self._store.head(self._folder.location.key(name))
        except Exception as error:
            raise store_error(error, self._folder.location, "lock") from None
        finally:
            self._folder.delete(name)
        moment: datetime = meta["last_modified"]
        return moment
