"""The client against the sandbox, as its users drive it."""
