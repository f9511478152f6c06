"""Name the store's errors by what the caller does about them."""


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreUnavailableError(StoreError):
    """The database is away, full or too slow: keep the batch and try again with the same number."""


class DiskFullError(StoreUnavailableError):
    """The database has no room left: it stays so until a person makes some."""


class LeaseLostError(StoreError):
    """Another holder has the lease: stop, nothing more of ours can be written."""


class SlotTakenError(StoreError):
    """Another process has numbered the same series or slot: read the table anew."""
