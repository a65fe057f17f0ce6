"""A recursive os.scandir with stat of every file.

python walk.py FOLDER
"""

from __future__ import annotations

import os
import sys


def walk(folder: str) -> int:
    count = 0
    for entry in os.scandir(folder):
        if entry.is_dir():
            count += walk(entry.path)
        else:
            count += entry.stat().st_size >= 0
    return count


if __name__ == "__main__":
    print(walk(sys.argv[1]))
