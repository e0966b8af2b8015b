"""The kinds of block that an executor runs itself: one module per kind, all behind `contract.BlockRunner`."""
