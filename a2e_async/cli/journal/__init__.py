"""``a2e journal``: what a journal knows, and what is left to do for it."""
