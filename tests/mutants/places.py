"""Faults of tasks, services and restarts: scripts, codes, lab."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = ()
