"""Check objects against the schemas of the operators that take them."""

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).parent / "schemas"
KINDS = frozenset(p.name.partition(".")[0] for p in SCHEMAS.glob("*.json.xz"))


@cache
def schema_of(kind: str) -> jsonschema.Draft7Validator:
    """Give what checks an object of a kind; it refuses unknown keys, as the API server drops them."""
    text = lzma.decompress((SCHEMAS / f"{kind}.json.xz").read_bytes())
    return jsonschema.Draft7Validator(_closed(json.loads(text)))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: _closed(v) for k, v in schema.items()}
    is_open = any(k in schema for k in ("x-kubernetes-preserve-unknown-fields", "additionalProperties"))
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        made["additionalProperties"] = False
    return made
