"""Run folders read back and shown: self-contained HTML pages, exports, two lines for the terminal.

Nothing here imports torch. Reading needs only the core; `render` and `write` need the extra
`collimate[report]` (jinja2 for the page, plotly for its charts), `write_figures` also
`collimate[figures]` (matplotlib), `write_metrics` pyarrow where it writes Parquet.

>>> [name for name in __all__ if name.startswith("write")]
['write', 'write_card', 'write_comparison', 'write_figures', 'write_metrics', 'write_sweep']
"""

from collimate.report._comparison.page import comparison_tabs as comparison_tabs
from collimate.report._comparison.page import render_comparison as render_comparison
from collimate.report._comparison.page import write_comparison as write_comparison
from collimate.report._comparison.runs import SETTINGS_WITHOUT_EFFECT as SETTINGS_WITHOUT_EFFECT
from collimate.report._displaced import DISPLACED_LINES as DISPLACED_LINES
from collimate.report._displaced import began as began
from collimate.report._displaced import displaced as displaced
from collimate.report._displaced import displaced_sentence as displaced_sentence
from collimate.report._displaced import suspect_pairs as suspect_pairs
from collimate.report._exports.card import model_card as model_card
from collimate.report._exports.card import write_card as write_card
from collimate.report._exports.figures import write_figures as write_figures
from collimate.report._exports.metrics import metrics_table as metrics_table
from collimate.report._exports.metrics import write_metrics as write_metrics
from collimate.report._flat import FLAT_LINES as FLAT_LINES
from collimate.report._flat import flat_loss as flat_loss
from collimate.report._next import what_next as what_next
from collimate.report._pairs import DERIVED as DERIVED
from collimate.report._pairs import Pairs as Pairs
from collimate.report._pairs import load_pairs as load_pairs
from collimate.report._pairs import suspects as suspects
from collimate.report._read import load as load
from collimate.report._record import RunRecord as RunRecord
from collimate.report._sweep import write_sweep as write_sweep
from collimate.report._verdict import summary_lines as summary_lines
from collimate.report._write import render as render
from collimate.report._write import tabs as tabs
from collimate.report._write import write as write

__all__ = [
    "DERIVED",
    "DISPLACED_LINES",
    "FLAT_LINES",
    "SETTINGS_WITHOUT_EFFECT",
    "Pairs",
    "RunRecord",
    "began",
    "comparison_tabs",
    "displaced",
    "displaced_sentence",
    "flat_loss",
    "load",
    "load_pairs",
    "metrics_table",
    "model_card",
    "render",
    "render_comparison",
    "summary_lines",
    "suspect_pairs",
    "suspects",
    "tabs",
    "what_next",
    "write",
    "write_card",
    "write_comparison",
    "write_figures",
    "write_metrics",
    "write_sweep",
]
