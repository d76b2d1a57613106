"""How unlike a face is to all that a detector learned from: fitted on crops, kept in its file."""
