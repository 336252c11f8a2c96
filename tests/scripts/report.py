"""``python -m tests.scripts.report``: checks and runs every script, prints one JSON object, exits 1 when it is bad."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pwserver.lab import engine_mind
from tests.scripts.check import check, secret_bindings, shipped
from tests.scripts.conftest import Runs, every
from tests.scripts.pairs import pairs
from tests.scripts.test_two_minds import same


def report() -> dict[str, object]:
    """Counts over all scripts; ``missing``: pairs of operation and code that no run covered."""
    engine = engine_mind.engine()
    if engine is None:
        return {"engine": None}
    with tempfile.TemporaryDirectory() as folder:
        checked = check(engine, shipped(), Path(folder))
    runs = Runs()
    runs.run(every())
    covered = {name for name, run in runs.items() if run.scenario.pair and run.answer["code"] == run.scenario.pair.code}
    return {
        "scripts": len(shipped()),
        "findings": sum(len(one["findings"]) for one in checked.values()),
        "secret_bindings": sum(len(secret_bindings(one)) for one in checked.values()),
        "executed": len(runs),
        "missing": sorted(pair.name for pair in pairs() if pair.name not in covered),
        "compared": len(runs),
        "differences": sum(bool(same(run)) for run in runs.values()),
        "engine": Path(engine).name if checked else f"{Path(engine).name} (without -Check)",
    }


if __name__ == "__main__":
    told = report()
    print(json.dumps(told))
    bad = (
        told["engine"] is None or told["findings"] or told["secret_bindings"] or told["missing"] or told["differences"]
    )
    sys.exit(1 if bad else 0)
