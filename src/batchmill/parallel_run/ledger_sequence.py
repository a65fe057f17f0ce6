"""The segments of a ledger in a store: ``ledger/<12 digits>``, each created once; appending the next one is commit and fence.

Packs (``packs/<first>-<last>``) repeat many segments in one object, so that a long ledger is read in few requests. They are written
in the background, and nothing depends on them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from batchmill.errors import BatchmillError, ObjectMissingError, StoreError
from batchmill.parallel_run.ledger_segment import LedgerSegment, decode, decode_all
from batchmill.parallel_run.run_store import LEDGER, PACKS
from batchmill.storage.shared_store import SharedStore

READ_AT_ONCE = 32
PACKS_FROM = 8
"""How many segments are read at once when packs are looked for."""
PACK_SEGMENTS = 1000
PACK_BYTES = 16 << 20
WORTH_A_PACK = 64
UNDECIDED = 20.0
"""Seconds for which a segment can be refused and not be there: two requests at once."""


def segment_name(number: int) -> str:
    """The name of a segment in the run folder."""
    return f"{LEDGER}/{number:012d}"


class LedgerSequence:
    """The segments below a run folder. One thread uses it at a time."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._unpacked: list[bytes] = []
        self._size = 0
        self._first = 0
        self._packer: ThreadPoolExecutor | None = None
        self._packing: Future[None] | None = None

    def append(self, segment: LedgerSegment, data: bytes) -> bool:
        """Create a segment; False when its number belongs to another one. May be repeated until it is answered.

        Raises:
            StoreError: the store does not answer or refuses: it is not known whether the segment is there.
        """
        deadline = time.monotonic() + UNDECIDED
        while not self._store.create(segment_name(segment.number), data):
            other = self.read(segment.number)
            if other is not None:
                if other.token != segment.token:
                    return False
                break
            if time.monotonic() > deadline:
                raise StoreError(f"{self._store.place}/{segment_name(segment.number)} can be neither written nor read.")
            time.sleep(0.05)
        self._pack(segment.number, data)
        return True

    def prove_conditions(self, number: int) -> None:
        """A store that ignores conditions would let two coordinators in.

        Raises:
            StoreError: it does.
        """
        if self._store.create(segment_name(number), b""):
            raise StoreError(
                f"Cannot keep a ledger in {self._store.place}: the store ignores conditional writes.", cure="Write to another."
            )

    def read(self, number: int) -> LedgerSegment | None:
        """One segment, if it is there."""
        name = segment_name(number)
        try:
            return decode(self._store.read(name), f"{self._store.place}/{name}")
        except ObjectMissingError:
            return None

    def beyond(self, number: int) -> bool:
        """Whether there is any segment after that one, wherever."""
        return next(self._store.list(LEDGER, after=segment_name(number)), None) is not None

    def after(self, number: int) -> Iterator[LedgerSegment]:
        """The segments after a number, in order, up to the first that is not there; one request when there is none."""
        packs: dict[int, str] | None = None
        at_once = 1
        with ThreadPoolExecutor(READ_AT_ONCE, "batchmill-ledger") as threads:
            while True:
                if packs is None and (at_once >= PACKS_FROM or number == 0):
                    packs = {int(entry.name[-25:-13]): entry.name for entry in self._store.list(PACKS)}
                if packs and (name := packs.pop(number + 1, None)) is not None:
                    for segment in self._unpack(name, number):
                        yield segment
                        number = segment.number
                    continue
                numbers = range(number + 1, min([number + 1 + at_once, *(first for first in packs or () if first > number)]))
                for found in threads.map(self.read, numbers):
                    if found is None:
                        return
                    yield found
                    number = found.number
                at_once = min(2 * at_once, READ_AT_ONCE)

    def _unpack(self, name: str, number: int) -> Iterator[LedgerSegment]:
        """What a pack repeats of the segments after a number; one that cannot be read is done without."""
        with suppress(StoreError):
            for segment in decode_all(self._store.read(name), name):
                number += 1
                if segment.number != number:
                    return
                yield segment

    def close(self) -> None:
        """Pack what is worth it, and wait for packs under way."""
        if len(self._unpacked) >= WORTH_A_PACK:
            self._send_pack()
        if self._packer is not None:
            self._packer.shutdown()
            self._packer = None

    def _pack(self, number: int, data: bytes) -> None:
        if number < self._first + len(self._unpacked):
            return  # it was asked for twice
        if not self._unpacked:
            self._first, self._size = number, 0
        self._unpacked.append(data)
        self._size += len(data)
        if len(self._unpacked) == PACK_SEGMENTS or self._size >= PACK_BYTES:
            self._send_pack()

    def _send_pack(self) -> None:
        if self._packer is None:
            self._packer = ThreadPoolExecutor(1, "batchmill-ledger-pack")
        first, segments = self._first, self._unpacked
        self._first, self._unpacked = first + len(segments), []
        if self._packing is None or self._packing.done():  # else the store is slow, and has more urgent things to do
            self._packing = self._packer.submit(self._put_pack, first, segments)

    def _put_pack(self, first: int, segments: list[bytes]) -> None:
        with suppress(BatchmillError, OSError):
            self._store.put(f"{PACKS}/{first:012d}-{first + len(segments) - 1:012d}", b"".join(segments))
