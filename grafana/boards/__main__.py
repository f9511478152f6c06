"""Write the boards' JSON; `--check` says whether the files are the ones that would be written."""

import json
import sys
from pathlib import Path
from typing import Any

from grafana.boards import alerts, detectors, health, market, tape

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"


def made() -> dict[str, dict[str, Any]]:
    """Give every board by its file's name."""
    return {
        f"{board['uid'].removeprefix('tapewatch-')}.json": board
        for board in (tape.board(), market.board(), detectors.board(), health.board(), alerts.board())
    }


def text_of(board: dict[str, Any]) -> str:
    """Give a board as its file holds it."""
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check the files; give the exit code."""
    wrong = 0
    for name, board in made().items():
        path, text = FOLDER / name, text_of(board)
        if "--check" in sys.argv:
            is_same = path.is_file() and path.read_text("utf-8") == text
            wrong += not is_same
            if not is_same:
                sys.stderr.write(f"{name}: expected what python -m grafana.boards writes, was another\n")
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
