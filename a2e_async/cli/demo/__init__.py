"""``a2e demo``: many jobs of three kinds against the sandbox, then a check against its ledger."""
