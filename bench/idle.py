"""What an idle instance takes: memory, and the time until it serves."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from bench.instance import Instance, wait
from bench.world import Plan


def measure(folder: Path, *, starts: int = 3) -> dict[str, Any]:
    """``idle_pss_mb`` of all processes together; ``start_cold_s`` with an empty data folder (the environment is there),
    ``start_warm_s`` the median of starts with that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Instance(folder, Plan(0, 1))
    warm = []
    try:
        cold = here.start()
        for _ in range(starts):
            here.stop()
            warm.append(here.start())
        pids = here.pids()
        wait(lambda: here.pids() == pids, "it is at rest")
        memory = {pid: pss(pid) for pid in pids}
    finally:
        here.stop()
    return {
        "idle_pss_mb": round(sum(memory.values()), 1),
        "idle_processes": len(memory),
        "start_warm_s": round(statistics.median(warm), 2),
        "start_cold_s": round(cold, 2),
    }


def pss(pid: int) -> float:
    """A process's proportional share of memory in MB: what it shares is divided among those that share it."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found, pid
    return int(found[1]) / 1024
