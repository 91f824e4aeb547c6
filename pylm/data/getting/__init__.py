"""Datasets got by name: `pylm.data.get`, which is `pylm data get`."""
