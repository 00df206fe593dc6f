"""What an audit reports: findings with a severity, a sentence and a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Severity = Literal["ok", "note", "warning", "danger"]
_MILDEST_FIRST: tuple[Severity, ...] = get_args(Severity)
_STYLE: dict[Severity, str] = {"ok": "green", "note": "cyan", "warning": "yellow", "danger": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        check: a stable key, e.g. ``"ties.item_id"``.
        severity: ``ok``; ``note``: good to know; ``warning``: say so beside your results; ``danger``: results mislead.
        title, detail: a few words, and one sentence with the figure and what to do.
        share: the figure, 0 … 1 (ids: a rank correlation, −1 … 1), or None where it could not be had.
    """

    check: str
    severity: Severity
    title: str
    detail: str
    share: float | None = None


def finding(
    check: str,
    title: str,
    share: float,
    of_the: str,
    *,
    warning: float = math.inf,
    danger: float = math.inf,
    advice: str = "",
) -> Finding:
    """A finding about a share: ok for none at all, else a note, and graver from ``warning`` and ``danger`` on.

    The detail reads "12.5 % of the {of_the}; {advice}.", the advice only where there is something to mend.
    """
    severity: Severity = "note"
    if share <= 0:
        severity = "ok"
    elif share >= min(warning, danger):
        severity = "danger" if share >= danger else "warning"
    tail = f"; {advice}" if advice and severity != "ok" else ""
    return Finding(check, severity, title, f"{percent(share)} of the {of_the}{tail}.", share)


def percent(share: float) -> str:
    """Rounded, but nothing that exists becomes 0 %, and nothing that lacks something 100 %."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %"


def gravest(severities: Iterable[Severity]) -> Severity:
    """The worst of them; ``ok`` if there are none."""
    return _MILDEST_FIRST[max((_MILDEST_FIRST.index(s) for s in severities), default=0)]


@dataclass(frozen=True)
class AuditReport:
    """What an audit found, in the order of the checks; ``report["ties.item_id"]`` is one finding.

    Attributes: dataset: its name. split: how it was split, or None. findings.
    """

    dataset: str
    split: str | None
    findings: list[Finding]

    def __getitem__(self, check: str) -> Finding:
        for each in self.findings:
            if each.check == check:
                return each
        raise KeyError(check)

    def __contains__(self, check: object) -> bool:
        return any(f.check == check for f in self.findings)

    @property
    def worst(self) -> Severity:
        """The gravest severity among the findings."""
        return gravest(f.severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        findings = [asdict(f) for f in self.findings]
        return {"dataset": self.dataset, "split": self.split, "worst": self.worst, "findings": findings}

    def render(self, console: Console) -> None:
        """A table, gravest first."""
        about = self.dataset if self.split is None else f"{self.dataset}, {self.split}"
        table = Table(title=f"Audit of {escape(about)}", title_justify="left")
        for column in ("", "finding", "detail"):
            table.add_column(column)
        for f in sorted(self.findings, key=lambda f: -_MILDEST_FIRST.index(f.severity)):
            table.add_row(f"[{_STYLE[f.severity]}]{f.severity}[/]", escape(f.title), escape(f.detail))
        console.print(table)
