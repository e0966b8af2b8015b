"""Benchmarks: commands that print a table. Real servers, every append fsynced, services as processes of their own."""
