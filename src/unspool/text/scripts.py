"""Scripts that put no spaces between words."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Unicode blocks. Chinese characters are words of their own already.
_UNSPACED = {
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Tibetan": "\u0f00-\u0fff",
    "Burmese": "\u1000-\u109f\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff",
    "Japanese kana": "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f",
}


def unspaced_script(texts: Sequence[str], share: float = 0.2) -> str | None:
    """The name of the script without spaces in which at least `share` of the letters of `texts` are; None: there is
    none. Looks at the first 2,000 texts."""
    sample = "".join(texts[:2000])
    letters = sum(character.isalpha() for character in sample)
    counts = {name: len(re.findall(f"[{block}]", sample)) for name, block in _UNSPACED.items()}
    name = max(counts, key=counts.__getitem__)
    return name if counts[name] and counts[name] >= share * letters else None
