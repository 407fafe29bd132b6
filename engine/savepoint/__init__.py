"""Savepoints: written in a portable format, checked against a topology, restored into a changed job."""
