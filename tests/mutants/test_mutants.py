"""Each source mutant still fits its file, and the test that must fail is there. ``make prove`` runs them."""

from __future__ import annotations

import ast

import pytest

from tests.mutants import PROJECT, SourceMutant, every


@pytest.mark.parametrize("mutant", every(), ids=lambda each: each.name)
def test_a_mutant_fits_its_file_and_names_a_test_that_exists(mutant: SourceMutant) -> None:
    assert (PROJECT / mutant.file).read_text().count(mutant.now) == 1
    assert mutant.now != mutant.back
    file, _, function = mutant.test.partition("::")
    tree = ast.parse((PROJECT / file).read_text())
    assert function.partition("[")[0] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_no_two_mutants_have_one_name() -> None:
    names = [each.name for each in every()]
    assert len(names) == len(set(names))
