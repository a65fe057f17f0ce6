"""What runs inside a worker process: standard library only at import, Python 3.9."""
