"""Cash transfers for the IMIS framework: proxy means test, selection, amounts."""

from typing import Final

__version__: Final = "0.1.0"
