"""Task kinds as data, task handles, parsing of records."""
