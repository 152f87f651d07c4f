"""Published methods, each a short function that returns five choices and its source.

`__all__` is the registry: the command line and the tests read it.
"""

from collimate.methods.preference.cdpo import cdpo as cdpo
from collimate.methods.preference.dpo import dpo as dpo
from collimate.methods.preference.f_dpo import f_dpo as f_dpo
from collimate.methods.preference.f_dpo import f_dpo_js as f_dpo_js
from collimate.methods.preference.hinge_norm import hinge_norm as hinge_norm
from collimate.methods.preference.ipo import ipo as ipo

__all__ = ["cdpo", "dpo", "f_dpo", "f_dpo_js", "hinge_norm", "ipo"]
