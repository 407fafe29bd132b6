"""The queries, each as a user would write it: `query(events)` gives the stream of results."""
