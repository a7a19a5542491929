"""The contract of the service against the namespaces and the sandbox, both ways."""
