"""Name the store's errors by what the caller does about them."""


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreUnavailableError(StoreError):
    """The database is away, full or too slow: keep the batch and try again with the same number."""


class LeaseLostError(StoreError):
    """Another holder has the lease: stop, nothing more of ours can be written."""
