"""Run-time counterpart of ``_signatures.pyi``, which only editors and type checkers read."""
