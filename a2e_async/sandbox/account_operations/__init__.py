"""The operations of the account: credits, uploads, voices, avatars, streaming, older ones."""
