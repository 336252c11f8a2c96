"""Synchronization as use cases: one function, one transaction, one audit line."""

from pwserver.services.sync.approvals import Approval, approve, newest_instruction
from pwserver.services.sync.chains import (
    active_links,
    active_run,
    chain_of,
    confirm_certificate,
    disable,
    enable,
    general_settings_changed,
    is_of_another_device,
    may_hold,
    primary_settings,
    run_of,
    save_settings,
    usable_agents,
    why_at_rest,
)
from pwserver.services.sync.check import check
from pwserver.services.sync.checks import StaleChain
from pwserver.services.sync.execute import execute
from pwserver.services.sync.links import add_link, edit_link, move_link, order_links, remove_link, restore_link
from pwserver.services.sync.many import add_many, read_many
from pwserver.services.sync.preview import approve_plan, retest_plan
from pwserver.services.sync.requests import (
    adopt,
    cancel,
    correct,
    give_up,
    request_change,
    request_test,
    retest,
)
from pwserver.services.sync.status import status_of

__all__ = [
    "Approval",
    "StaleChain",
    "active_links",
    "active_run",
    "add_link",
    "add_many",
    "adopt",
    "approve",
    "approve_plan",
    "cancel",
    "chain_of",
    "check",
    "confirm_certificate",
    "correct",
    "disable",
    "edit_link",
    "enable",
    "execute",
    "general_settings_changed",
    "give_up",
    "is_of_another_device",
    "may_hold",
    "move_link",
    "newest_instruction",
    "order_links",
    "primary_settings",
    "read_many",
    "remove_link",
    "request_change",
    "request_test",
    "restore_link",
    "retest",
    "retest_plan",
    "run_of",
    "save_settings",
    "status_of",
    "usable_agents",
    "why_at_rest",
]
