"""Employment injury insurance for the IMIS framework: accidents, benefits, awards."""

from typing import Final

__version__: Final = "0.1.0"
