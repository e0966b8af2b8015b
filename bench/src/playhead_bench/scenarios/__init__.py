"""One module per group of figures. Each function measures on a fresh system and gives its rows."""
