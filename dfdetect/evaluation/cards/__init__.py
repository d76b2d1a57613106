"""The card of a detector: typed, as JSON, and as pages made from the JSON alone."""
