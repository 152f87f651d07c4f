"""Published methods, each a short function that returns five choices and its source.

`__all__` is the registry: the command line and the tests read it.
"""

from collimate.methods.preference.alpha_po import alpha_po as alpha_po
from collimate.methods.preference.aot import aot as aot
from collimate.methods.preference.aot_unpaired import aot_unpaired as aot_unpaired
from collimate.methods.preference.apo_down import apo_down as apo_down
from collimate.methods.preference.apo_zero import apo_zero as apo_zero
from collimate.methods.preference.apo_zero_unpaired import apo_zero_unpaired as apo_zero_unpaired
from collimate.methods.preference.asft import asft as asft
from collimate.methods.preference.bco import bco as bco
from collimate.methods.preference.bco_pair import bco_pair as bco_pair
from collimate.methods.preference.beta_dpo import beta_dpo as beta_dpo
from collimate.methods.preference.cal_dpo import cal_dpo as cal_dpo
from collimate.methods.preference.cdpo import cdpo as cdpo
from collimate.methods.preference.chi_po import chi_po as chi_po
from collimate.methods.preference.cpl import cpl as cpl
from collimate.methods.preference.cpo import cpo as cpo
from collimate.methods.preference.d2o import d2o as d2o
from collimate.methods.preference.dco_pass_at_n import dco_pass_at_n as dco_pass_at_n
from collimate.methods.preference.direct_advantage_po import (
    direct_advantage_po as direct_advantage_po,
)
from collimate.methods.preference.discopop import discopop as discopop
from collimate.methods.preference.dpo import dpo as dpo
from collimate.methods.preference.dpop import dpop as dpop
from collimate.methods.preference.exo_pair import exo_pair as exo_pair
from collimate.methods.preference.f_dpo import f_dpo as f_dpo
from collimate.methods.preference.f_dpo_js import f_dpo_js as f_dpo_js
from collimate.methods.preference.hinge_norm import hinge_norm as hinge_norm
from collimate.methods.preference.ipo import ipo as ipo
from collimate.methods.preference.ipo_length_normalised import (
    ipo_length_normalised as ipo_length_normalised,
)
from collimate.methods.preference.kto import kto as kto
from collimate.methods.preference.ld_dpo import ld_dpo as ld_dpo
from collimate.methods.preference.ln_dpo import ln_dpo as ln_dpo
from collimate.methods.preference.madpo import madpo as madpo
from collimate.methods.preference.mapo import mapo as mapo
from collimate.methods.preference.mpo import mpo as mpo
from collimate.methods.preference.nca_pair import nca_pair as nca_pair
from collimate.methods.preference.odpo import odpo as odpo
from collimate.methods.preference.orpo import orpo as orpo
from collimate.methods.preference.plackett_luce import plackett_luce as plackett_luce
from collimate.methods.preference.r_dpo import r_dpo as r_dpo
from collimate.methods.preference.rdpo import rdpo as rdpo
from collimate.methods.preference.rpo_sft import rpo_sft as rpo_sft
from collimate.methods.preference.seppo import seppo as seppo
from collimate.methods.preference.sigmoid_norm import sigmoid_norm as sigmoid_norm
from collimate.methods.preference.simpo import simpo as simpo
from collimate.methods.preference.slic_hf import slic_hf as slic_hf
from collimate.methods.preference.sparse_po import sparse_po as sparse_po
from collimate.methods.preference.sparse_po_common import sparse_po_common as sparse_po_common
from collimate.methods.preference.sppo_hard import sppo_hard as sppo_hard
from collimate.methods.preference.tdpo import tdpo as tdpo
from collimate.methods.preference.tdpo1 import tdpo1 as tdpo1
from collimate.methods.preference.tpo import tpo as tpo
from collimate.methods.preference.tpo_l import tpo_l as tpo_l
from collimate.methods.preference.tr_dpo import tr_dpo as tr_dpo
from collimate.methods.preference.wpo import wpo as wpo

__all__ = [
    "alpha_po",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "apo_zero_unpaired",
    "asft",
    "bco",
    "bco_pair",
    "beta_dpo",
    "cal_dpo",
    "cdpo",
    "chi_po",
    "cpl",
    "cpo",
    "d2o",
    "dco_pass_at_n",
    "direct_advantage_po",
    "discopop",
    "dpo",
    "dpop",
    "exo_pair",
    "f_dpo",
    "f_dpo_js",
    "hinge_norm",
    "ipo",
    "ipo_length_normalised",
    "kto",
    "ld_dpo",
    "ln_dpo",
    "madpo",
    "mapo",
    "mpo",
    "nca_pair",
    "odpo",
    "orpo",
    "plackett_luce",
    "r_dpo",
    "rdpo",
    "rpo_sft",
    "seppo",
    "sigmoid_norm",
    "simpo",
    "slic_hf",
    "sparse_po",
    "sparse_po_common",
    "sppo_hard",
    "tdpo",
    "tdpo1",
    "tpo",
    "tpo_l",
    "tr_dpo",
    "wpo",
]
