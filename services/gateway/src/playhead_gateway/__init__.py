"""The HTTP door of Playhead: authenticates, validates, admits, answers, streams."""
