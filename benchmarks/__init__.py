"""What was measured: the workbook against the course's own way, or the plain tool, on equal work.

``make bench`` measures everything, ``python -m benchmarks training`` one thing, and ``--quick``
proves in seconds that it still runs. ``python -m benchmarks.page`` then writes the table and the
picture of ``docs/performance.md``.
"""
