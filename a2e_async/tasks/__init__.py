"""Tasks: how they are started, looked at, waited for and held."""
