"""The demo: the flights that left New York in 2013, killed once half way, compared with a batch query.

A user's program that ships with the engine. Nothing of the engine depends on it.
"""
