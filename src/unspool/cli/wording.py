"""Errors in the words of the command line: options where Python has parameters."""

from __future__ import annotations

import re
from typing import Any

from unspool.errors import InvalidParameterError

#: Parameters that options call otherwise.
OTHERWISE = {
    "random_state": "seed",
    "budget_seconds": "budget",
    "h": "horizon",
    "early_stopping": "stop_beams",
    "id_col": "id",
    "time_col": "time",
    "target_col": "target",
}
_SAID = re.compile(r"(?<![\w.'\"-])([a-z_]+)=(True|False|None|'[\w.-]*'|\d[\d.]*\d|\d)(?![\w(\[])")


def worded(told: Exception | Warning | str, command: Any) -> str:
    """What an error or a warning says, with the options of a command (click's) for the parameters that it names."""
    options = {} if command is None else {p.name: p for p in command.params if p.param_type_name == "option"}

    def option(name: str) -> Any:
        return options.get(name) or options.get(OTHERWISE.get(name, ""))

    def said(match: re.Match[str]) -> str:
        found, value = option(match[1]), match[2]
        if found is None or any(name in text for name in (*found.opts, *found.secondary_opts)):
            return match[0]
        if value in ("True", "False") and found.is_flag:
            opts = found.opts if value == "True" else found.secondary_opts
            return _long(opts) if opts else f"no {_long(found.opts)}"
        return f"no {_long(found.opts)}" if value == "None" else f"{_long(found.opts)} {value.strip(chr(39))}"

    text = str(told)
    if isinstance(told, InvalidParameterError) and told.parameter is not None:
        named = option(told.parameter)
        if named is not None:
            text = f"{_long(named.opts)} {told.rest}"
    return _SAID.sub(said, text)


def _long(opts: list[str]) -> str:
    return max(opts, key=len)
