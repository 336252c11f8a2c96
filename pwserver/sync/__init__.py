"""Decides what happens to a password on its way along a chain. No Flask, no SQLAlchemy, no RQ."""
