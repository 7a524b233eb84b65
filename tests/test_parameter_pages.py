"""The pages of the tagger's, the generator's and Seq2Seq's parameters are of their tables.

`python -m tests.test_parameter_pages` writes them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unspool.generation.settings import SETTINGS as GENERATION
from unspool.parameters import page
from unspool.seq2seq.settings import SETTINGS as SEQ2SEQ
from unspool.tagging.parameters import TABLE as TAGGING

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "tagging": page("SequenceTagger", "tagging", TAGGING),
    "generation": page("SequenceGenerator", "generation", GENERATION),
    "seq2seq": page("Seq2Seq", "seq2seq", SEQ2SEQ),
}


@pytest.mark.parametrize("task", PAGES)
def test_the_page_is_of_the_table(task: str) -> None:
    written = (DOCS / f"parameters_{task}.md").read_text(encoding="utf-8")
    assert written == PAGES[task], "python -m tests.test_parameter_pages"


if __name__ == "__main__":
    for name, text in PAGES.items():
        (DOCS / f"parameters_{name}.md").write_text(text, encoding="utf-8")
