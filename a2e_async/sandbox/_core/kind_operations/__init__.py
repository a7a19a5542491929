"""Operations of task kinds: start, list, detail, delete, and those that only one kind has."""
