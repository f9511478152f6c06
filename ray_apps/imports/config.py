"""The section `s3` of the config file: where buckets are, and with which key."""

from __future__ import annotations

from pydantic import Field, SecretStr

from ray_apps.config import HttpUrl, Section


class S3Config(Section):
    """Files of bars in buckets (`tapewatch import s3://...`); the vendor gives a key for its flat files."""

    endpoint_url: HttpUrl | None = None
    """AWS_ENDPOINT_URL; unset: Amazon's own. The vendor's flat files are at another."""
    key: SecretStr | None = Field(default=None, min_length=1, max_length=256)
    """AWS_ACCESS_KEY_ID; unset: what this machine is entitled to (its role, the usual credentials file)."""
    secret: SecretStr | None = Field(default=None, min_length=1, max_length=256)
    """AWS_SECRET_ACCESS_KEY."""
    session_token: SecretStr | None = Field(default=None, min_length=1, max_length=8192)
    """AWS_SESSION_TOKEN, of a key that is lent for a time."""
