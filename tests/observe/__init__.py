"""Tests of events, logs, telemetry and the MCP server."""
