"""Status checks of running tasks: schedule, poller, waiters, leader and peers."""
