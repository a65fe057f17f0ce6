"""Samples of a node's resources, for the logs: ``sys/perf/<node>/*.csv`` (specification E1, E2)."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path

NODE_COLUMNS = ("Datetime", "CPU Percent", "Memory Used", "Memory Available", "Network Sent", "Network Received")
DISK_COLUMNS = ("Datetime", "Folder", "Total", "Used", "Free", "Read", "Written")
PROCESS_COLUMNS = ("Datetime", "Process", "Pid", "CPU Seconds", "Resident Memory", "Threads")


class ResourceMonitor:
    """Writes one sample every ``interval`` seconds; 0 turns it off. Sizes are bytes, since the start of the machine where they count."""

    def __init__(self, run_folder: Path, node: str, interval: float) -> None:
        self._folder = run_folder / "logs" / "sys" / "perf" / node
        self._run_folder = run_folder
        self._interval = interval
        self._sampled = time.monotonic()

    def look(self, now: float, processes: Iterable[tuple[str, int]]) -> None:
        """Take a sample when one is due; ``processes`` are (name, pid)."""
        if not self._interval or now - self._sampled < self._interval:
            return
        self._sampled = now
        import psutil

        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        memory, network = psutil.virtual_memory(), psutil.net_io_counters()
        sent, received = (network.bytes_sent, network.bytes_recv) if network else (0, 0)
        self._write("node_resource_usage.csv", NODE_COLUMNS, [(stamp, psutil.cpu_percent(), memory.used, memory.available, sent, received)])
        disk, traffic = psutil.disk_usage(str(self._run_folder)), psutil.disk_io_counters()
        read, written = (traffic.read_bytes, traffic.write_bytes) if traffic else (0, 0)
        self._write("node_disk_usage.csv", DISK_COLUMNS, [(stamp, str(self._run_folder), disk.total, disk.used, disk.free, read, written)])
        rows: list[tuple[object, ...]] = []
        for name, pid in processes:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                rows.append((stamp, name, pid, times.user + times.system, process.memory_info().rss, process.num_threads()))
            except psutil.Error:
                continue  # ended between look and sample
        self._write("processes_resource_usage.csv", PROCESS_COLUMNS, rows)

    def _write(self, name: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(columns)
            writer.writerows(rows)
