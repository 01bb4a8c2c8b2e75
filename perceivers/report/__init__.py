"""Pages for people: the report and the card of a run, and explanations as pages and pictures.

A file is a panel, or something that all panels need. Not concerned with computing metrics, answers, explanations or
baselines: a `Summary` brings them.
"""

from perceivers.report.page import model_card, write_report
from perceivers.report.summary import Summary, TargetResult

__all__ = ["Summary", "TargetResult", "model_card", "write_report"]
