"""Faults of processes, ports and what outlives them."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = ()
