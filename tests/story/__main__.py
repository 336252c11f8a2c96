"""``python -m tests.story``: walks the whole story and prints one JSON object; what it measured goes to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pwserver import supervisor
from tests.story.steps import FORTY, TROUBLE
from tests.story.story import walk


def spawn(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], env=os.environ | env, cwd=supervisor.PROJECT, text=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = [walk(Path(folder) / name, spawn, tale) for name, tale in (("a", TROUBLE), ("b", FORTY))]
    steps = [step for tale in found for step in tale["steps"]]
    sys.stderr.write(json.dumps([tale["measured"] for tale in found]) + "\n")
    sys.stdout.write(json.dumps({"steps": [step | {"n": n} for n, step in enumerate(steps, 1)]}) + "\n")
    return 0 if all(step["ok"] for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
