"""``a2e doctor``: looks at everything that a call needs, for free, and says how to mend it."""
