"""LIVE: one server process, without sockets and without brokers."""
