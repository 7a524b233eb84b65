"""Series and recordings as users have them, to what the estimators take, and spectra."""

from unspool.signals.folder import read_folder
from unspool.signals.labelled import Labelled
from unspool.signals.long import from_long
from unspool.signals.panel import LAYOUTS, from_panel, read_panel
from unspool.signals.sound import Sound, read_sound
from unspool.signals.ts import read_ts

__all__ = [
    "LAYOUTS",
    "Labelled",
    "Sound",
    "from_long",
    "from_panel",
    "read_folder",
    "read_panel",
    "read_sound",
    "read_ts",
]
