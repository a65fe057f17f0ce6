"""A trial and a single replayed mini-batch, when the items lie in an object store."""

from __future__ import annotations

import json

from tests.conftest import Project
from tests.integration.conftest import Bucket

SCORE = "import os\ndef run(batch): return [f'{os.path.basename(path)}: {os.path.getsize(path)}' for path in batch]\n"


def test_items_are_fetched(s3: Bucket, project: Project) -> None:
    project.write({"score.py": SCORE})
    for number in range(6):
        s3.put(f"in/{number}.txt", b"x" * number)
    options = ("--input", f"{s3.url}/in/", "--mini-batch-size", "2", "--workers", "1")
    tried = project.batchmill("plan", "score.py", *options, "--try", "2", "--json")
    assert tried.returncode == 0, tried.stderr
    record = json.loads(tried.stdout)
    assert (record["plan"]["files"], record["plan"]["bytes"], record["trial"]["items"]) == (6, 15, 4)
    assert record["estimate"]["mini_batch_seconds"] > 0
    assert project.batchmill("run", "score.py", *options, "--quiet").returncode == 0
    again = project.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert (again.returncode, again.stdout) == (0, "2.txt: 2\n3.txt: 3\n"), again.stderr
    s3.delete("in/3.txt")
    bad = project.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert (bad.returncode, bad.stdout) == (1, "2.txt: 2\n"), bad.stderr
    assert "3.txt" in bad.stderr
