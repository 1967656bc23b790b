"""Weights that were made with PyTorch: how their files are read (``state_dict``), how their names
become ours (``rules``), and whether they fit a network (``convert``).
"""
