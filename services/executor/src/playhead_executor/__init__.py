"""The executor: takes commands, drives the engine, runs blocks, appends events."""
