"""The benchmarks: ``python -m benchmarks`` (``make bench``) measures every row of docs/performance.md beside its peers."""
