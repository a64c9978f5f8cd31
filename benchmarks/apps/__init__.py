"""Apps for pyproc's workers: the calls that are measured, and apps of several weights to start."""
