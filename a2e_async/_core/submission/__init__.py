"""Everything that costs coins: attempt, executor, recovery, admission, budget."""
