"""The job of a mail: an id comes in, a service is called."""

from __future__ import annotations

import logging

from jobs import worker

log = logging.getLogger(__name__)


def send(outbox_id: str) -> None:
    """Sends one mail of the outbox. What became of it is in its row; nothing is given back to the queue.

    An error of ours ends here: a traceback in Redis could hold anything. The lease ends, and the timer nudges again.
    """
    from pwserver.services.mail import outbox

    with worker.application().app_context():
        try:
            outbox.deliver(outbox_id)
        except Exception as error:
            log.error("mail %s ended by an error of ours: %s", outbox_id, type(error).__name__)
