"""The outbox as an administrator sees it: every mail, how it stands, and what the mail server said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, select

from pwserver.core.states import Row
from pwserver.extensions import db
from pwserver.models import Outbox
from pwserver.services.mail.letters import write_letter
from pwserver.services.mail.outbox import Moot
from pwserver.services.transaction import now
from pwserver.services.views.said import Said, say

SHOWN = 200
STATES = {
    "waiting": Row("Waiting", "run", "clock"),
    "sending": Row("Being sent", "run", "arrow-repeat", busy=True),
    "sent": Row("Sent", "ok", "check-circle-fill"),
    "failed": Row("Not taken", "bad", "x-octagon-fill", loud=True),
    "kept": Row("Kept here", "off", "inbox"),
    "dropped": Row("Not sent", "off", "dash-circle"),
}
RETRIED = Row("Waiting", "warn", "clock-fill")
ABOUT = {
    "needs_override": "Sync Issue",
    "unreachable": "Sync Issue, nothing to do yet",
    "over": "Sync Issue, over",
    "trouble": "The server itself",
    "trouble_over": "The server itself, over",
    "summary": "Weekly summary",
    "test": "Test mail",
}


@dataclass(frozen=True, slots=True)
class MailView:
    """``subject``: as written, or what it is about while nothing was written yet."""

    row: Outbox
    look: Row
    about: str
    subject: str
    stands: Said

    @property
    def busy(self) -> bool:
        """It changes within seconds: the page asks again."""
        return self.row.state == "sending" or (self.row.state == "waiting" and not self.row.tries)

    @property
    def can_again(self) -> bool:
        return self.row.state in ("failed", "kept")

    @property
    def when(self) -> datetime:
        return self.row.ended_at or self.row.created_at


def read_mails() -> list[MailView]:
    """What needs somebody first, then what waits, then the newest."""
    order = case({"failed": 0, "sending": 1, "waiting": 1}, value=Outbox.state, else_=2)
    query = select(Outbox).order_by(order, Outbox.created_at.desc(), Outbox.id).limit(SHOWN)
    return [mail_view(row) for row in db.session.scalars(query)]


def mail_view(row: Outbox) -> MailView:
    about = ABOUT.get(row.template, row.template)
    look = RETRIED if row.state == "waiting" and row.tries else STATES[row.state]
    return MailView(row, look, about, row.subject or about, _stands(row))


def _stands(row: Outbox) -> Said:
    """The second line: when, and the server's own answer last."""
    answer = f" {row.answer}" if row.answer else ""
    tries = f"{row.tries} {'try' if row.tries == 1 else 'tries'}"
    match row.state:
        case "waiting" if row.tries:
            return say("next try ", row.next_try_at, f", {tries} so far.{answer}")
        case "waiting" if row.next_try_at > now():
            return say("waits with the others until ", row.next_try_at, ".")
        case "waiting":
            return say("sent in a moment.")
        case "sending":
            return say("handed to the mail server now.")
        case "sent":
            return say("taken by the mail server ", row.ended_at, f":{answer}")
        case "failed":
            return say("given up ", row.ended_at, f" after {tries}.{answer}")
        case _:
            return say(row.ended_at, f".{answer}") if row.ended_at else say(row.answer)


def text_of(row: Outbox) -> str:
    """What was written last; of a mail that was never written, what it would say now."""
    if row.text:
        return row.text
    try:
        letter = write_letter(row)
    except Moot as why:
        return f"{why}\n"
    return f"Subject: {letter.subject}\n\n{letter.text}"
