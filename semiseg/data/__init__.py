"""From files on disk to cases: readers, the store, splits and pools. Nothing is imported here, so
that listing sets stays instant.
"""
