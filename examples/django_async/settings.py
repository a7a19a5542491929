"""The minimal settings; the journal is the only database."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "only-for-this-machine")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "urls"
DATA_UPLOAD_MAX_MEMORY_SIZE = 100 * 2**20  # bytes
