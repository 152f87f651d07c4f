"""Records, templates, validation: text in many formats to checked `Example`s.

`load_data` does everything; `read_rows` and `encode` are its two halves.
Imports no transformers: a tokenizer comes as an object.
"""

from collimate.data.assemble import Encoded as Encoded
from collimate.data.bad_rows import BadRow as BadRow
from collimate.data.bad_rows import Reason as Reason
from collimate.data.encode import encode as encode
from collimate.data.facts import Facts as Facts
from collimate.data.facts import Lengths as Lengths
from collimate.data.facts import content_hash as content_hash
from collimate.data.formats import Format as Format
from collimate.data.formats import Kind as Kind
from collimate.data.limits import Limits as Limits
from collimate.data.load import Loaded as Loaded
from collimate.data.load import load_data as load_data
from collimate.data.load import stream_data as stream_data
from collimate.data.mismatched import with_mismatched as with_mismatched
from collimate.data.row import Row as Row
from collimate.data.source import FORMATS as FORMATS
from collimate.data.source import read_rows as read_rows
from collimate.data.tally import best_score as best_score
from collimate.data.tally import is_wanted as is_wanted
from collimate.data.tokenizer import CharacterTokenizer as CharacterTokenizer
from collimate.data.tokenizer import Tokenizer as Tokenizer

__all__ = [
    "FORMATS",
    "BadRow",
    "CharacterTokenizer",
    "Encoded",
    "Facts",
    "Format",
    "Kind",
    "Lengths",
    "Limits",
    "Loaded",
    "Reason",
    "Row",
    "Tokenizer",
    "best_score",
    "content_hash",
    "encode",
    "is_wanted",
    "load_data",
    "read_rows",
    "stream_data",
    "with_mismatched",
]
