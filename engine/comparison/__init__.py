"""Comparing what two versions of a topology write."""
