"""What platforms and editing make of a detector: degraded clips, scored as clean ones are."""
