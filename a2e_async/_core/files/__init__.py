"""Media files: upload, download, local files, media types."""
