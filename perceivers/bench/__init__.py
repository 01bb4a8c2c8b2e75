"""Ours beside the others, in turn: what `perceivers bench` measures, keeps and writes.

`works.py` says what is measured, `sides/` are the processes that do it, `measure.py` lets them take turns, `store.py`
keeps what was found, `page.py` writes it down. Not concerned with the numbers that a user asks for before a run: see
`plan/`.
"""
