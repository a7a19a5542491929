"""The simulated kinds of task: prices, input rules, durations, status sequences."""
