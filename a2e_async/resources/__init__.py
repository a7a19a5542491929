"""One module for each kind of task, and the operations of the account."""
