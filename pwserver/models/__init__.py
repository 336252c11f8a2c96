"""What is remembered: tables and constraints. Rules live in ``pwserver.sync``; statements in ``pwserver.services``."""

from pwserver.models.agents import AgentScope, SyncAgent
from pwserver.models.base import Base, new_id
from pwserver.models.chains import LinkMaybe, SyncChain, SyncLink
from pwserver.models.entries import Entry, EntryVersion, KeyCanary, Setting
from pwserver.models.mails import Outbox, Trouble
from pwserver.models.people import AppUser, Favourite, Membership, Vault
from pwserver.models.records import AT_REST, Event, Incident
from pwserver.models.runs import Account, AccountAnswer, AccountName, AccountTry, LinkAttempt, Override, SyncRun

__all__ = [
    "AT_REST",
    "Account",
    "AccountAnswer",
    "AccountName",
    "AccountTry",
    "AgentScope",
    "AppUser",
    "Base",
    "Entry",
    "EntryVersion",
    "Event",
    "Favourite",
    "Incident",
    "KeyCanary",
    "LinkAttempt",
    "LinkMaybe",
    "Membership",
    "Outbox",
    "Override",
    "Setting",
    "SyncAgent",
    "SyncChain",
    "SyncLink",
    "SyncRun",
    "Trouble",
    "Vault",
    "new_id",
]
