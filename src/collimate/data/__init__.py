"""Records, templates, validation: text in many formats to checked `Example`s.

`load_preferences` and `load_thumbs` do everything; `read_rows` and `encode` are their two halves.
Imports no transformers: a tokenizer comes as an object.
"""

from collimate.data.assemble import Encoded as Encoded
from collimate.data.bad_rows import BadRow as BadRow
from collimate.data.bad_rows import Reason as Reason
from collimate.data.encode import encode as encode
from collimate.data.encode import examples as examples
from collimate.data.facts import Facts as Facts
from collimate.data.facts import Lengths as Lengths
from collimate.data.facts import content_hash as content_hash
from collimate.data.formats import Format as Format
from collimate.data.limits import Limits as Limits
from collimate.data.load import Loaded as Loaded
from collimate.data.load import load_preferences as load_preferences
from collimate.data.load import load_thumbs as load_thumbs
from collimate.data.rows import Row as Row
from collimate.data.rows import read_rows as read_rows
from collimate.data.tokenizer import ByteTokenizer as ByteTokenizer
from collimate.data.tokenizer import Tokenizer as Tokenizer

__all__ = [
    "BadRow",
    "ByteTokenizer",
    "Encoded",
    "Facts",
    "Format",
    "Lengths",
    "Limits",
    "Loaded",
    "Reason",
    "Row",
    "Tokenizer",
    "content_hash",
    "encode",
    "examples",
    "load_preferences",
    "load_thumbs",
    "read_rows",
]
