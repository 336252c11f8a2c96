"""Pure rules and types: no Flask, no SQLAlchemy, no RQ, no I/O."""
