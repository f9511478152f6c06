"""How good bars are: what is missing, wrong, doubtful or shifted in whole histories, and what they look like."""
