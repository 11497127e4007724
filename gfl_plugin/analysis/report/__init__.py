"""Looks into trained detectors: one page about what they find, miss and believe, and about the labels of the data."""
