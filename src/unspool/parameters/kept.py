"""Parameters as scikit-learn's estimators keep them, for what does without its import."""

from __future__ import annotations

import inspect
from typing import Any


class Kept:
    """An object that keeps each argument of its constructor under the argument's name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name, in alphabetical order, as `sklearn.base.BaseEstimator` gives them.

        deep: changes nothing: it is of estimators among the arguments, of which there are none.
        """
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return {name: getattr(self, name) for name in sorted(names)}
