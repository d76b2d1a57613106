"""A dataset becomes a manifest, crops and batches."""
