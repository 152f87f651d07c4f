"""Run folders read back and shown: one self-contained HTML page, and two lines for the terminal.

Nothing here imports torch. Reading needs only the core; `render` and `write` need the extra
`collimate[report]` (jinja2 for the page, plotly for its charts).

>>> sorted(__all__)[:5]
['DERIVED', 'FLAT_LINES', 'MOST_RUNS', 'Pairs', 'RunRecord']
"""

from collimate.report._compare import MOST_RUNS as MOST_RUNS
from collimate.report._compare import compare as compare
from collimate.report._flat import FLAT_LINES as FLAT_LINES
from collimate.report._flat import flat_loss as flat_loss
from collimate.report._next import what_next as what_next
from collimate.report._pairs import DERIVED as DERIVED
from collimate.report._pairs import Pairs as Pairs
from collimate.report._pairs import load_pairs as load_pairs
from collimate.report._pairs import suspects as suspects
from collimate.report._read import load as load
from collimate.report._record import RunRecord as RunRecord
from collimate.report._verdict import summary_lines as summary_lines
from collimate.report._write import render as render
from collimate.report._write import tabs as tabs
from collimate.report._write import write as write

__all__ = [
    "DERIVED",
    "FLAT_LINES",
    "MOST_RUNS",
    "Pairs",
    "RunRecord",
    "compare",
    "flat_loss",
    "load",
    "load_pairs",
    "render",
    "summary_lines",
    "suspects",
    "tabs",
    "what_next",
    "write",
]
