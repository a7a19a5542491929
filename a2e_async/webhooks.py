"""Webhooks: the receivers of the service's events."""

from a2e_async._core.webhooks.receiver import WebhookOutcome, WebhookReceiver, Webhooks

__all__ = ["WebhookOutcome", "WebhookReceiver", "Webhooks"]
