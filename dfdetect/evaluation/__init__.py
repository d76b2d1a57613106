"""Scores of a detector, or of anybody's → tables of results with intervals, definitions and hashes.

The modules are imported one by one where they are needed: measuring scores that are on disk loads
no network.
"""
