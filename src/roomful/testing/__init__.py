"""Tools for tests: ours, and those of applications built on Roomful."""
