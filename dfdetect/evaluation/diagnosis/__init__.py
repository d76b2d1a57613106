"""What makes a number differ from another one: every known difference, removed one by one."""
