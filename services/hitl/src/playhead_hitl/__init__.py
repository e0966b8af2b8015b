"""Pauses: takes people's answers, lets one of them win, and sets the execution going again."""
