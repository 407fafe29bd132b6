"""Nexmark: an auction house's persons, auctions and bids, and the queries that streams are compared by. See README.md."""
