"""What the pytest plugin is made of: isolated items, faults, leaks, coverage in workers.

`pyproc.pytest_plugin` is what pytest loads; it imports from here when a test asks for it.
"""
