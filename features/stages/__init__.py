"""The three stages of the engine: Market, Symbols, Desk. Pure and checkpointed; live they sit in few actors."""
