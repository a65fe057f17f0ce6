"""A bare concurrent obstore get: list the objects, get each with one of sixteen threads, drop the bytes.

python get_objects.py URL
"""

from __future__ import annotations

import sys
import threading

import obstore

from batchmill.storage.location import parse_location
from batchmill.storage.object_store import list_objects, store_for

THREADS = 16


def main() -> None:
    location = parse_location(sys.argv[1])
    store = store_for(location)
    names = [name.decode() for chunk in list_objects(location) for name in chunk.names]

    def loop(first: int) -> None:
        for name in names[first::THREADS]:
            obstore.get(store, name).bytes()

    threads = [threading.Thread(target=loop, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
