"""PURE: how it is spelled. Bytes to words and back; no I/O, no clock."""
