"""The pure core: what an execution is, and what follows from what has happened to it.

Values in, values out. Nothing here waits, reads a clock, draws a random number or logs; moments and new ids are
handed in. A state is a working copy that belongs to whoever folded it: `advance` evolves it as it decides.
"""
