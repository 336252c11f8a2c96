"""Faults of accounts, the second hop and domains: scripts, codes, lab."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = ()
