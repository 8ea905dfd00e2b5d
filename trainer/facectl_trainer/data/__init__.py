"""Data before it trains anything."""
