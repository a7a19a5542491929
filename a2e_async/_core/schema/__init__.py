"""Input declarations and validators, record decoding, JSON guard."""
