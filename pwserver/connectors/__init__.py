"""Connectors talk to targets: one file per link kind, over a session. ``kinds.py`` holds the one list."""
