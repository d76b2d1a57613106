"""Frames → faces → tracks; importing this never imports torch."""
