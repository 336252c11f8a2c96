"""The story in its order."""

from __future__ import annotations

from collections.abc import Sequence

from tests.story import enabling, measuring, trouble
from tests.story.story import Step

STEPS: Sequence[tuple[str, Step]] = (
    ("sign in: Dashboard, vault, password", enabling.sign_in),
    ("add links, one to a domain controller by mistake", enabling.add_links),
    ("enable on a lab full of differences", enabling.enable),
    ("put right in one step", enabling.put_right),
    ("machines come back, the wrong link goes", enabling.bring_back),
    ("change it everywhere", trouble.change),
    ("change with LAB-04 off, then on", trouble.change_without_one),
    ("LAB-05 changed outside: refused once", trouble.changed_outside),
    ("Approve with a wrong administrator", trouble.wrong_administrator),
    ("Approve with a value that its policy rejects", trouble.against_policy),
    ("Approve, then right", trouble.then_right),
    ("correct the stored value", trouble.correct),
    ("a stale service found and adopted", trouble.stale_service),
    ("ten clicks, and what the books say", measuring.measure),
)
