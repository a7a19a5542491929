"""API requests: session, connection, rate limit, retry, envelope, errors."""
