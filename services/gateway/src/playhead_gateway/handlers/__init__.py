"""One function per thing that callers want: load, fold, decide, append, answer."""
