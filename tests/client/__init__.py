"""Tests of the client against the sandbox, through its public interface."""
