"""Signing what the log is, every few minutes, into files outside of the database."""
