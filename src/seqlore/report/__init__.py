"""What a run found, for people: the page ``report.html``, and tables over several runs."""

from seqlore.report.page import write_report
from seqlore.report.tables import table

__all__ = ["table", "write_report"]
