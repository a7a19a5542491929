"""Kinds that a program declares itself: `a2e_async.kinds.TaskKind`, ``A2E(kinds=…)``."""
