"""Makes the demo's input files: everything is computed here, nothing is copied from anyone."""
