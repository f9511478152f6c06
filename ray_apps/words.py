"""Put numbers into words."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """Say how many there are of something; `many` where it is not `one` with an s.

    >>> counted(1, "file"), counted(2_000, "file"), counted(0, "anomaly", "anomalies")
    ('1 file', '2,000 files', '0 anomalies')
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"
