"""Tests of what a program is told while it runs."""
