"""``python -m a2e_async``: the ``a2e`` command."""

import sys

from a2e_async.cli import main

if __name__ == "__main__":
    sys.exit(main())
