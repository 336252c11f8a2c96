"""Faults of the line to an agent, and what goes over it."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = ()
