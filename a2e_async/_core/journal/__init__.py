"""The journal of starts: its protocol, the recorder, the SQLite backend."""
