"""What the package costs, side by side with the raw library or a hand-written loop."""
