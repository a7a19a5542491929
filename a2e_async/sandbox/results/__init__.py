"""The result files of finished tasks, made from the inputs when they are first requested."""
