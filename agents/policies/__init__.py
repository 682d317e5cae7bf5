"""Trained policies: their folders on disk, the methods of `minimize` that follow them, and those that are shipped."""
