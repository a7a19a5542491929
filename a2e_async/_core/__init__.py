"""The package's internals. Public names are in the modules beside it; nothing here is stable."""
