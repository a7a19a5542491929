"""Webhook events: the receiver and the tokens."""
