"""What a training step or a prediction costs here, before it is run: memory, FLOPs, seconds, and the kernels taken.

`trace.py` runs it on weights that have no values, `probe.py` times each product and operation that it met,
`training.py` and `prediction.py` say what is run, `check.py` runs it for real, `page.py` writes it down. Not concerned
with comparing packages: see `bench/`.
"""
