"""Give the fitted detectors that are served: for now those shipped beside this file."""

import logging
from pathlib import Path

from features.detectors.artifact import load
from features.detectors.base import FittedDetector
from features.detectors.card import ModelError

LOG = logging.getLogger(__name__)


def shipped(folder: Path = Path(__file__).parent) -> dict[str, FittedDetector]:
    """Give the detectors of a folder's artifacts by name; one that cannot be used is left out and logged."""
    found: dict[str, FittedDetector] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            detector = load(path.read_bytes())
        except (ModelError, OSError) as e:
            LOG.warning("artifact left out", extra={"path": path.name, "error": str(e)})
            continue
        found[detector.card.name] = detector
    return found
