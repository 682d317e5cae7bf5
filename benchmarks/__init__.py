"""Experiments: every method on every problem at equal queries, one result file each; tables and figures from them."""
