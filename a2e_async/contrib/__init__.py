"""Adapters to outside systems, one small module each; the core never imports them."""
