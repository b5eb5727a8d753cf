# ruff: noqa: INP001 - a script, not a package
"""Writes docs/reasons.md from `etl.reasons`: `python docs/make_reasons.py`.

It may not hold a sentence about a code of its own; only the headings and what they mean.
"""

from pathlib import Path

from etl.reasons import REASONS, About

PAGE = Path(__file__).with_name("reasons.md")

_HEADINGS = {
    About.ROW: ("Rows", "A row that breaks a rule is left out; the drop goes on without it."),
    About.DROP: ("Drops", "The whole file goes to quarantine and comes back only as a new drop."),
    About.INBOX: ("The inbox", "Told once; what lies there is left where it is."),
    About.GUARD: ("Guards of rows", "The batch is held; a person may release it."),
    About.WORLD: ("Guards of the world and far sides", "The batch is held; it goes on by itself."),
    About.LIST: (
        "The recipient list",
        "An accepted row that is not in the list, or a list at odds.",
    ),
    About.NOTE: ("Notes", "Nothing is stopped."),
    About.STATE: ("The service", "Start and commands."),
}

_TOP = """\
<!-- Made by docs/make_reasons.py from etl/reasons.py: change it there. -->
# Reasons

Every code this service gives in receipts, reports and logs. A code is never renamed and never
reused. `{name}` stands for a number or a name from the configuration, never for a cell.
"""


def page() -> str:
    """The whole page."""
    parts = [_TOP]
    for about, (heading, meaning) in _HEADINGS.items():
        parts.append(
            f"\n## {heading}\n\n{meaning}\n\n| code | what happened | what to do |\n|---|---|---|\n"
        )
        parts += [
            f"| `{code}` | {_cell(reason.sentence)} | {_cell(reason.hint)} |\n"
            for code, reason in REASONS.items()
            if reason.about is about
        ]
    return "".join(parts)


def _cell(text: str) -> str:
    """Text inside a Markdown table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
