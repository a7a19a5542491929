"""The simulation needs Python 3.12 and simloom; otherwise its tests are not collected."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("simloom") else ["test_*.py"]
