"""``a2e demo``: many jobs of all kinds against the sandbox, and the books compared at the end."""
