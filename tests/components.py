"""The programs that tests run against, and where they are.

`python tests/components.py NAME` prints the path, or exits 1: so `scripts/test-components` asks the same table.
"""

from __future__ import annotations

import os
import shutil
import sys

COMPONENTS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "node": ("node", "nodejs"),
}
"""Name → the commands it may have, the first one found wins."""


def find(name: str) -> str | None:
    """The path of a component's program; None when it isn't installed. KeyError for a name not in the table."""
    return next(filter(None, map(shutil.which, COMPONENTS[name])), None)


if __name__ == "__main__":
    path = find(sys.argv[1])
    print(path or f"{sys.argv[1]} isn't installed", file=sys.stdout if path else sys.stderr)
    sys.exit(os.EX_OK if path else os.EX_UNAVAILABLE)
