"""Errors of a detector by what can be measured of a picture: size, blur, turn, light, compression.

Nothing here guesses at who is shown.
"""

FEWEST = 5
"""Videos of a class below which a bin has no number: its interval would say nothing."""
