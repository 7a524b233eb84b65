"""A cell whose step is a list of operations, as a Scan of an ONNX file has it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import ModelFileError
from unspool.importing.steps import COUNTS, OPERATIONS, SETTINGS, WITH_ROWS
from unspool.saved import Fields

MAX_OPERATIONS = 20_000
MAX_WIDTH = 2**20
MAX_NUMBERS = 2**31  # of a weight


class StepCell(nn.Module):
    """x (B, F), state parts (B, ·) -> the new parts, the first of which is the output.

    operations: {"op": a name of `steps.OPERATIONS`, "inputs": values, further settings}; the i-th makes the value
    "v<i>". A value is "x", "s<k>" (a part of the state), "w<k>" (a weight), "v<i>" or a number. outputs: the values of
    the new parts. starts: what each part starts from, a weight (1, width) or a number. weights: their shapes.

    Raises `ModelFileError` for operations that are not known, or do not fit each other.
    """

    def __init__(
        self,
        input_size: int,
        states: list[int],
        starts: list[Any],
        weights: list[list[int]],
        operations: list[dict[str, Any]],
        outputs: list[Any],
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, states[0]
        self.widths, self.starts, self.outputs = tuple(states), tuple(starts), tuple(outputs)
        self.operations = [
            (op["op"], tuple(op["inputs"]), {k: v for k, v in op.items() if k not in ("op", "inputs")})
            for op in operations
        ]
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(shape)) for shape in weights])

    def initial_state(self, batch_size: int) -> Any:
        """What the file says: the parts (batch_size, ·)."""
        parts = []
        for start, width in zip(self.starts, self.widths):
            if isinstance(start, str):
                parts.append(self.weights[int(start[1:])].expand(batch_size, width))
            else:
                parts.append(torch.full((batch_size, width), float(start)))
        return tuple(parts) if len(parts) > 1 else parts[0]

    def forward(self, x: Tensor, state: Any) -> Any:
        """One step."""
        parts = state if isinstance(state, tuple) else (state,)
        values: dict[str, Any] = {"x": x, **{f"s{k}": part for k, part in enumerate(parts)}}
        values |= {f"w{k}": weight for k, weight in enumerate(self.weights)}

        def value(name: Any) -> Any:
            return values[name] if isinstance(name, str) else name

        for i, (op, inputs, settings) in enumerate(self.operations):
            rows = {"rows": x.shape[0]} if op in WITH_ROWS else {}
            values[f"v{i}"] = OPERATIONS[op](*map(value, inputs), **settings, **rows)
        new = [value(name).expand(x.shape[0], width) for name, width in zip(self.outputs, self.widths)]
        return tuple(new) if len(new) > 1 else new[0]

    @classmethod
    def from_fields(cls, fields: Fields) -> StepCell:
        """The cell that settings describe; `ModelFileError` for anything else."""
        states, weights = fields.items("states", int), fields.items("weights", list)
        widths = [*states, fields.get("input_size", int)]
        if not states or not all(1 <= n <= MAX_WIDTH for n in widths):
            raise ModelFileError(f"{fields.where} must have widths in [1, {MAX_WIDTH:,}]. Got {widths[:6]}.")
        if not all(type(n) is int and 1 <= n < MAX_NUMBERS for shape in weights for n in shape):
            raise ModelFileError(f"{fields.where} has a weight whose sizes are no ints in [1, 2**31).")
        if any(math.prod(shape) >= MAX_NUMBERS or len(shape) > 8 for shape in weights):
            raise ModelFileError(f"{fields.where} has a weight of too many numbers.")
        operations = fields.items("operations", dict)
        if len(operations) > MAX_OPERATIONS:
            raise ModelFileError(f"{fields.where} has more than {MAX_OPERATIONS:,} operations.")
        known = {"x", *(f"s{k}" for k in range(len(states))), *(f"w{k}" for k in range(len(weights)))}
        for i, data in enumerate(operations):
            own = Fields(data, f"{fields.where}, operation {i},")
            op = own.choice("op", OPERATIONS)
            inputs, wanted = own.get("inputs", list), COUNTS[op]
            if not inputs or (wanted is not None and len(inputs) != wanted):
                raise ModelFileError(f"{own.where} must have {wanted or 'some'} inputs. Got {len(inputs)}.")
            _check_values(own.where, inputs, known)
            for name, kind in SETTINGS[op].items():
                found: Any = own.items(name, int) if kind is list else own.get(name, kind)
                large = math.prod(max(abs(n), 1) for n in found) if name == "shape" else 0
                if large > MAX_WIDTH or (name == "width" and not 1 <= found <= MAX_WIDTH):
                    raise ModelFileError(f"{own.where} makes more than {MAX_WIDTH:,} numbers of a row.")
            if set(data) - {"op", "inputs", *SETTINGS[op]}:
                raise ModelFileError(f"{own.where} has settings that it does not take.")
            known.add(f"v{i}")
        outputs, starts = fields.get("outputs", list), fields.get("starts", list)
        if len(outputs) != len(states) or len(starts) != len(states):
            raise ModelFileError(
                f"{fields.where} must have an output and a start for each part of the state."
            )
        _check_values(fields.where, outputs, known)
        _check_values(fields.where, starts, {f"w{k}" for k in range(len(weights))})
        return cls._tried(fields, states, starts, weights, operations, outputs)

    @classmethod
    def _tried(cls, fields: Fields, *settings: Any) -> StepCell:
        """Once a step of it ran: torch says which shapes do not fit."""
        cell = cls(fields.get("input_size", int), *settings)
        try:
            with torch.no_grad():
                new = cell(torch.zeros(2, cell.input_size), cell.initial_state(2))
        except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
            line = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{fields.where} has a step whose operations do not fit: {line}") from error
        parts = new if isinstance(new, tuple) else (new,)
        for part, width in zip(parts, cell.widths):
            if tuple(part.shape) != (2, width) or part.dtype != torch.float32:
                raise ModelFileError(
                    f"{fields.where} has a step that makes {part.dtype} {tuple(part.shape)} of a state (2, {width})."
                )
        return cell


def _check_values(where: str, values: list[Any], known: set[str]) -> None:
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number and not (isinstance(value, str) and value in known):
            raise ModelFileError(f"{where} reads {value!r}, which is no value before it.")


__all__ = ["StepCell"]
