"""What the kernel says about the memory of a process that was killed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PEAKS = """
import os, subprocess, sys
from batchmill.nodes.watch import last_peak

def account(body):
    process = subprocess.Popen([sys.executable, "-S", "-c", body])
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss

print(last_peak(1, account("import os; held = bytes(1) * (400 << 20); os.kill(os.getpid(), 9)")), last_peak(1, account("pass")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about what Linux accounts")
def test_the_account_counts_beyond_the_size_of_the_process_that_started_it() -> None:
    ballast = bytes(1) * (500 << 20)  # a child begins with the peak of who started it, and so would the one in the middle
    told = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True).stdout
    del ballast
    large, small = map(int, told.split())
    assert 400 << 20 < large < 450 << 20
    assert small == 1, "what was sampled"
