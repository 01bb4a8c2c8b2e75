"""One side of a comparison: a process of its own, which builds a model, runs it when asked, and says how long it took.

It runs in the environment of the package that it measures, where `perceivers` need not be installed: nothing here
imports ours but `ours.py`. Not concerned with turns, ratios or what is written down.
"""
