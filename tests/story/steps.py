"""The story in its order, in two tales: each begins with a lab in which all is well."""

from __future__ import annotations

from collections.abc import Sequence

from tests.story import editing, enabling, measuring, night, trouble
from tests.story.story import Step

Tale = Sequence[tuple[str, Step]]

TROUBLE: Tale = (
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
FORTY: Tale = (
    ("sign in again: another lab", enabling.sign_in),
    ("edit the chain in its place", editing.edit),
    ("paste forty machine names", editing.paste_forty),
    ("forty put right in one step", editing.put_forty_right),
    ("a change of 41 links, watched", night.watched),
    ("LAB-04 off: 40 of 41, one mail, a task for each owner", night.off),
    ("on again: Retest Sync does only LAB-04", night.retest),
    ("LAB-05 changed at night: test, mail, Approve on a phone", night.at_night),
    ("what the books say", measuring.books),
)
