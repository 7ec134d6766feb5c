"""The tables of docs/models.md are what `python -m models` prints."""

from pathlib import Path

import pytest

from models import CATALOGUE

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def _rows(text: str) -> list[str]:
    """The rows of all tables, whatever blanks surround them."""
    return [line.strip() for line in text.splitlines() if line.startswith("|")]


def test_the_page_holds_the_printed_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Every row that the command prints stands in the page, in the same order, and the page has no others."""
    from models.__main__ import main

    main()
    printed = _rows(capsys.readouterr().out)

    assert len(printed) > 2 * len(CATALOGUE)
    assert _rows(PAGE.read_text(encoding="utf-8")) == printed
