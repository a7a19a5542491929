"""Operations of the account: coins, uploads, voices, avatars, streaming, legacy ones."""
