"""Say which database is meant, without its password, and what to do about what it answered."""

import re
from urllib.parse import urlsplit

FIXES = (
    (
        "password authentication failed",
        "user or password is not the server's: mend DATABASE_URL (on a cluster its Secret)",
    ),
    ("no password supplied", "DATABASE_URL has no password: postgresql://user:password@host:port/name"),
    (r"no pg_hba\.conf entry", "the server refuses this user or address: allow it in its pg_hba.conf"),
    ("role .* does not exist", "make the user: CREATE ROLE name LOGIN PASSWORD '...'"),
    ("database .* does not exist", "make the database: CREATE DATABASE name OWNER user"),
    ("is starting up|in recovery mode", "it will take connections soon: wait"),
    ("is shutting down", "it is being stopped: start it again"),
    ("permission denied", "let the user make tables: ALTER DATABASE name OWNER TO user"),
    ("must be owner", "run the migration as the user who made the tables: REASSIGN OWNED BY former TO user"),
    (
        "No space left|could not write|could not extend",
        "its volume is full: make room or a larger volume, or lower retention_days",
    ),
    ("too many", "its connections are taken: raise max_connections"),
    ("resolve host", "its name is not known here: mend the host in DATABASE_URL"),
    ("FATAL", "it answered, and refuses: its own log says why"),
    ("schema", "`tapewatch db migrate` makes it, on a cluster the job that ends in -migrate: see its log"),
)
"""Patterns of a message, the first that is found counts, and what mends it."""
UNREACHED = "is it running, and does a firewall or NetworkPolicy let us through?"


def place(dsn: str) -> str:
    """Give a database's user, host and name.

    >>> place("postgresql://joe:secret@db.example:5433/tape?password=x")
    'joe@db.example:5433/tape'
    """
    parts = urlsplit(dsn)
    user = f"{parts.username}@" if parts.username else ""
    return f"{user}{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def fix(said: str) -> str:
    """Give what to do about a server's answer.

    >>> fix('connection failed: FATAL:  role "joe" does not exist')
    "make the user: CREATE ROLE name LOGIN PASSWORD '...'"
    >>> fix("connection refused")
    'is it running, and does a firewall or NetworkPolicy let us through?'
    >>> fix("FATAL:  the database system is starting up")
    'it will take connections soon: wait'
    >>> fix('permission denied for database "tape"')
    'let the user make tables: ALTER DATABASE name OWNER TO user'
    >>> fix("FATAL:  could not write init file")
    'its volume is full: make room or a larger volume, or lower retention_days'
    >>> fix("FATAL:  the server is on holiday")
    'it answered, and refuses: its own log says why'
    """
    return next((advice for pattern, advice in FIXES if re.search(pattern, said)), UNREACHED)


def advised(dsn: str, expected: str, said: str) -> str:
    """Give one line: which database, what was expected, what it answered, what to do.

    >>> print(advised("postgresql://joe:secret@db/tape", "an answer", "too many clients"))
    database joe@db:5432/tape: expected an answer, was too many clients; its connections are taken: raise ...
    """
    return f"database {place(dsn)}: expected {expected}, was {said}; {fix(said)}"
