"""`playhead demo`: a real workflow from beginning to end, with every claim checked while it runs."""
