"""Faults of accounts on servers over SSH."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = ()
