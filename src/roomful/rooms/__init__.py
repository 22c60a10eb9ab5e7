"""PURE: what a room remembers. State machines that get time, ids and chance as arguments."""
