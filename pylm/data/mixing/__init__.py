"""Shards of shards: several mixed by weight, and one divided into training and validation."""
