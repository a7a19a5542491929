"""Adapters to other systems, one small module each; the core never imports them."""
