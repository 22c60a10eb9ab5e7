"""Words: what is said. Frozen structs without behaviour; they know neither bytes nor the network."""
