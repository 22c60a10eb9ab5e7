"""`python -m roomful`."""

from __future__ import annotations

from roomful.server.cli import main

main()
