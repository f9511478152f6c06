"""Carry what was found to people and other programs: at least once, from the outbox."""
