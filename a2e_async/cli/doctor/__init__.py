"""``a2e doctor``: checks everything that requests need, free of charge, and prints fixes."""
