"""Cells that people write numbers in -> float64; and what cells are that look like numbers and are none."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import polars as pl

from unspool.errors import bad_parameter, check_choice

# Cells of a number column that mean "no number here"; in a text or label column they are ordinary texts.
# As R, pandas, SQL ("\\N"), Excel, and people who leave no cell empty write it.
MISSING_NUMBERS = (
    *("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none", "<NA>", "#N/A", "\\N", "?", ".", "-", "--"),
    *("\u2013", "\u2014"),
)
UNIT = r"(?:[%\uff05‰]|(?:US|CA|AU|NZ|HK|R)?\p{Sc}|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD)\b)"
SPACES = r"[ \u00a0\u2009\u202f]"
THOUSANDS = (",", ".", " ", "'", "_")
_APOSTROPHES = "[\u2019\u02bc\uff07]"
_SIGNED = r"^[-+]?"
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
# What a cell looks like -> (its form, what to do). The first form that most of the cells have is named.
_DATE = (
    r"^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ].*)?$"
    r"|^(\d+ days?,? )?\d{1,2}:\d{2}(:\d{2}.*|\.\d+)?( ?[ap]\.?m\.?)?$"
    rf"|^(\d{{1,2}}(st|nd|rd|th)?[ .-]+{_MONTH}|{_MONTH} \d{{1,2}},?)[ -]?(\d{{4}}|\d{{2}})?( .*)?$"
    rf"|^{_MONTH}[ -](\d{{4}}|\d{{2}})$|^\d{{4}}[-/. ]?(\d{{2}}|[QWH]\d{{1,2}})$|^\d{{4}}-W\d{{2}}(-\d)?$"
    r"|^P(T?\d+(\.\d+)?[YMWDHS])+$|^(\d+(\.\d+)?\s?(d|h|hrs?|m|mins?|s|secs?)\s*){2,}$"
)
_LOOKS = {
    "dates or times": (
        _DATE,
        "make numbers of them first, such as days since the earliest",
    ),
    "numbers with a decimal comma": (
        rf"{_SIGNED}(\d{{1,3}}([.']\d{{3}}|{SPACES}\d{{3}})+|\d+)?,\d+(e[-+]?\d+)?$",
        "read them with --decimal , (decimal=',')",
    ),
    "numbers with a mark between thousands": (
        rf"{_SIGNED}\d{{1,3}}(([,'_.]\d{{3}})+|({SPACES}\d{{3}})+|(,\d{{2}})*,\d{{3}})(\.\d+)?$",
        "read them with --thousands and that mark (thousands=',')",
    ),
    "numbers with units": (
        rf"{_SIGNED}(UNIT\s*)?[-+]?\d[\d.,'_]*\s?([^\W\d]{{1,8}}\.?|\p{{So}}[CF]?|UNIT)?$".replace(
            "UNIT", UNIT
        ),
        "write bare numbers in one unit",
    ),
    "fractions": (
        rf"{_SIGNED}(\d+\s)?\d+\s?[/\u2044\u2215]\s?\d+$|{_SIGNED}\d*\p{{No}}$",
        "write them as decimal numbers",
    ),
    "numbers in parentheses or with a minus sign behind": (
        r"^(\(\s*(UNIT\s*)?\d[\d.,']*\s*(UNIT)?\)|\d[\d.,']*[-\u2212])$".replace("UNIT", UNIT),
        "write negative numbers as -5",
    ),
    "numbers with marks": (
        r"^([<>~≈≤≥±#=]|\+/-)+\s?[-+]?\d[\d.,]*$|^\d[\d.,]*\s?(±|\+/-|of|out of)\s?\d[\d.,]*$|^0x[\da-f]+$",
        "write bare decimal numbers",
    ),
}
# Of these a comma before thousands cannot be told from a decimal one.
_EITHER = rf"{_SIGNED}[1-9]\d{{0,2}},\d{{3}}$"
_WHICH = (
    "read them with --thousands , (thousands=',') if the comma stands before the last three digits of whole numbers, "
    "or with --decimal , (decimal=',') if it stands before a fraction"
)


@dataclass(frozen=True)
class Style:
    """How a file writes numbers. decimal: "." or ",". thousands: the mark between groups of three digits, or None.

    Raises `InvalidParameterError` for anything else.
    """

    decimal: str = "."
    thousands: str | None = None

    def __post_init__(self) -> None:
        check_choice("the table reader", "decimal", self.decimal, (".", ","))
        check_choice("the table reader", "thousands", self.thousands, (None, *THOUSANDS))
        if self.decimal == self.thousands:
            bad_parameter("the table reader", "thousands", "another mark than decimal", self.thousands)


def to_numbers(cells: pl.Series, style: Style) -> tuple[pl.Series, pl.Series, str | None]:
    """(values as float64, null where a cell is no number; mask of the cells that mean "missing"; the unit, such as
    "%", that every number carries and that is left out). cells: strings."""
    words = _plain(cells)
    missing = cells.is_null() | words.is_in([*MISSING_NUMBERS, ""]).fill_null(True)
    words = words.str.replace("^[\u2212\u2013]", "-")
    words, unit = _without_unit(words, missing)
    if style.thousands is not None:
        if style.thousands == "'":
            words = words.str.replace_all(_APOSTROPHES, "'")
        mark = SPACES if style.thousands == " " else re.escape(style.thousands)
        grouped = words.str.contains(rf"{_SIGNED}\d{{1,3}}({mark}\d{{3}})+({re.escape(style.decimal)}\d*)?$")
        words = _where(grouped, words.str.replace_all(mark, ""), words)
    if style.decimal == ",":
        pointed = words.str.contains(".", literal=True)
        words = _where(pointed, pl.Series([None] * len(words), dtype=pl.String), words).str.replace(
            ",", ".", literal=True
        )
    return words.cast(pl.Float64, strict=False), missing, unit


def _without_unit(words: pl.Series, missing: pl.Series) -> tuple[pl.Series, str | None]:
    """A currency or percent sign before or after every number goes; where some lack it, all stay as they are."""
    number = r"([-+]?)\s*(\d[\d.,'_ \u00a0\u202f]*|[.,]\d+)"
    parts = words.str.extract_groups(
        rf"^(?:(?P<s>[-+]?)\s*(?P<u>{UNIT})\s*(?P<n>{number})|(?P<m>{number})\s*(?P<v>{UNIT}))$"
    ).struct.unnest()
    unit = parts["u"].fill_null(parts["v"]).filter(~missing)
    if not len(unit) or unit.null_count() or unit.n_unique() != 1:
        return words, None
    bare = parts["s"].fill_null("") + parts["n"].fill_null(parts["m"]).str.strip_chars()
    return bare.str.replace_all(r"^([-+])\s+", "${1}"), unit[0]


def _plain(cells: pl.Series) -> pl.Series:
    """Without blanks around, and marks that are not seen; digits of all scripts as those of ASCII."""
    words = cells.str.strip_chars().str.replace_all(r"\p{Cf}", "")
    others = words.str.extract_all(r"[\p{Nd}--0-9]").explode().unique().drop_nulls().to_list()
    return (
        words.str.replace_many({digit: str(unicodedata.decimal(digit)) for digit in others})
        if others
        else words
    )


def _where(mask: pl.Series, yes: pl.Series, no: pl.Series) -> pl.Series:
    return yes.zip_with(mask.fill_null(False), no)


def looks_like(cells: pl.Series) -> tuple[str, str] | None:
    """("numbers with a decimal comma", what to do) where most of `cells`, strings that are no numbers, look like
    that; None where they are words."""
    words = _plain(cells.drop_nulls())
    if not len(words):
        return None
    bare = words.str.replace_all(_APOSTROPHES, "'").str.replace_all(rf"^{UNIT}\s*|\s*{UNIT}$", "")
    for what, (form, advice) in _LOOKS.items():
        if int(bare.str.contains(f"(?i){form}").sum()) > len(words) / 2:
            if what == "numbers with a decimal comma" and bool(bare.str.contains(_EITHER).all()):
                return "numbers with a comma", _WHICH
            return what, advice
    return None
