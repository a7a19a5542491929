"""What the adapters for web frameworks share: HTTP answers to errors, and progress streams."""
