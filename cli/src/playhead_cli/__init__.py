"""`playhead`: the command line. Commands are thin; what they share stands beside them, by idea."""
