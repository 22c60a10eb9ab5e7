"""LIVE: one connected client."""
