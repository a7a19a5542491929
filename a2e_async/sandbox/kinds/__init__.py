"""The kinds of task the sandbox simulates: prices, input rules, durations, status sequences."""
