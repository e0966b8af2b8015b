"""Thin functions: take a call apart, call one handler, answer. One module for each group of calls."""
