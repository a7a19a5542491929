"""Tests of the pure modules: properties and virtual time, no network, no clock."""
