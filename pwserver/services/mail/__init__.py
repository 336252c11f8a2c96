"""Alerts by mail: rows made by the timer, written when they are sent, sent by a worker (rule 41)."""
