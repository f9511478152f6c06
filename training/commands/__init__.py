"""The commands of the offline side that have several of a kind."""
