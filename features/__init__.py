"""The pure core: every causal function of market data, from wire message to decision.

No I/O, no clock, no environment, no global random state: time and randomness arrive as arguments.
"""
