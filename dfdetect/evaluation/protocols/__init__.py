"""Under which rules scores become numbers: protocols, the benchmark's habits, designs of tables."""
