"""The command line: a thin layer over the Python API. Each command is a module that is imported
when it is called.
"""
