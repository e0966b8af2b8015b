"""The log in the formats of others: one module each, all of them in flat memory however long the log is."""
