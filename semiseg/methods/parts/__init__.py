"""What several methods are made of: loss terms, ramps, moving averages, thresholds, extra heads,
critics, connected components and distance maps.
"""
