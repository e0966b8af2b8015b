"""Derives everything that can be derived from the log: read models in Postgres, the copy of the log on the bus."""
