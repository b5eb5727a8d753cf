"""docs/reasons.md is what its generator makes of `etl.reasons`."""

from docs.make_reasons import PAGE, page
from etl.reasons import REASONS


def test_the_page_is_up_to_date() -> None:
    """The page in the repository is the one made from the codes of today."""
    assert PAGE.read_text("utf-8") == page(), "run: python docs/make_reasons.py"


def test_the_page_names_every_code_once() -> None:
    """No code is left out, whatever it is about."""
    for code in REASONS:
        assert page().count(f"| `{code}` |") == 1
