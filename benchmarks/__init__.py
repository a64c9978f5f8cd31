"""Benchmarks of pyproc: the same work done by a bare socket, by us and by the peers, side by side.

`python -m benchmarks` from the repository's root. README.md says what each figure means.
"""
