"""What all tests share."""

import signal

# A test run in the background of a shell ignores these, and the programs it starts would, too:
# then no test of Ctrl-C or of a closed terminal could pass.
for name in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
    if signal.getsignal(name) is signal.SIG_IGN:
        handler = signal.default_int_handler if name is signal.SIGINT else signal.SIG_DFL
        signal.signal(name, handler)
