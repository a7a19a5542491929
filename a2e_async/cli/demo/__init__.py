"""``a2e demo``: many jobs of three kinds against the sandbox, and the books compared at the end."""
