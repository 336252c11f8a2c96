"""The parts of the second opinions that start nothing: the list of differences, and how answers are judged."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.facts import RUN_ON
from tests.opinions import differences, smbd_facts, wine_facts
from tests.opinions.__main__ import opinions
from tests.opinions.facts import EQUAL, LISTED, UNLISTED, Checked, Difference, judge, strays

KNOWN = {"a": Difference("a", "Call", 1, 2, "because")}


@pytest.mark.parametrize(
    ("checked", "kind"),
    [
        (Checked("b", 1, 1, 1, True), EQUAL),
        (Checked("b", 1, 1), EQUAL),
        (Checked("a", 1, 2, 1, True), LISTED),
        (Checked("b", 1, 2, 1, True), UNLISTED),
    ],
)
def test_a_difference_counts_as_known_only_when_it_is_listed(checked, kind):
    assert judge(checked, KNOWN).kind == kind


def test_a_listed_difference_that_is_gone_fails():
    assert "gone" in judge(Checked("a", 1, 1, 1, True), KNOWN).text


def test_a_listed_difference_that_became_another_one_fails():
    assert judge(Checked("a", 1, 3, 1, True), KNOWN).kind == UNLISTED
    assert judge(Checked("a", 4, 2, 4, True), KNOWN).kind == UNLISTED


@pytest.mark.parametrize("theirs", [1, 2])
def test_a_lab_that_contradicts_the_document_fails_whatever_the_other_program_says_and_no_list_excuses_it(theirs):
    assert judge(Checked("a", 1, theirs, 2, True), KNOWN).kind == UNLISTED


def test_a_lab_that_has_no_answer_is_not_taken_for_one_that_was_not_asked():
    assert judge(Checked("b", 1, 1, None, True), {}).kind == UNLISTED


def test_a_row_that_is_not_whole_or_stands_twice_is_refused():
    whole = "| `a` | `Call` | `1` | `2` | because |\n"
    assert differences.read("| fact | call |\n" + whole)["a"] == KNOWN["a"]
    for text in ("| `a` | `Call` | `1` | `2` |\n", "| `a` | `Call` | `1` | `2` |  |\n", whole + whole):
        with pytest.raises(ValueError):
            differences.read(text)


def test_every_listed_difference_belongs_to_a_fact_and_says_its_call():
    facts = {fact.name: fact for opinion in opinions() for fact in opinion.facts}
    listed = differences.listed()
    assert strays(listed, list(facts.values())) == []
    assert all(row.call == facts[name].call and row.ours == facts[name].expected for name, row in listed.items())


def test_facts_have_names_of_their_own_and_programs_that_the_page_of_facts_may_cite():
    names = [fact.name for opinion in opinions() for fact in opinion.facts]
    assert len(names) == len(set(names)) > 100
    assert {opinion.run_on for opinion in opinions()} <= set(RUN_ON)


def test_the_lab_is_asked_wherever_it_has_the_call():
    asked = [fact for fact in (*wine_facts.facts("user"), *smbd_facts.facts()) if fact.lab is not None]
    assert len(asked) > 100


def test_the_list_of_facts_is_printed_without_starting_anything():
    done = subprocess.run(
        [sys.executable, "-m", "tests.opinions", "--facts"], capture_output=True, text=True, check=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) > 100
    assert {len(row) for row in rows} == {4}


def test_what_runs_inside_the_namespaces_needs_nothing_of_this_project():
    """Debian's own Python runs it, which has none of our packages."""
    tree = ast.parse(Path(__file__).with_name("smbd_inside.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - {"samba"} <= sys.stdlib_module_names
