"""Where something can be plugged in: Protocols whose docstrings are the contract."""
