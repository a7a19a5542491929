"""The client for programs without an event loop: the same parts, run by a thread of their own."""
