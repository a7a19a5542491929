"""The parts of the sandbox. `a2e_async.sandbox` has what users import."""
