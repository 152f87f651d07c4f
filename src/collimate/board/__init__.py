"""The board: a folder of runs as a web page of this machine (docs/board.md).

Read in this order: `runs` (what is in the folder), `pairs` and `tokens` (the pair explorer's
questions and their answers), `api` (each address as a function of the folder), `safety` (who may
ask), `app` (the three put together), `static` (the page).

>>> __all__
['create_app', 'serve']
"""

from collimate.board.app import create_app as create_app
from collimate.board.serve import serve as serve

__all__ = ["create_app", "serve"]
