"""peft, imported without bitsandbytes, which alone would take two seconds and 44 MB of every start."""

import sys
from contextlib import nullcontext

from collimate._bitsandbytes import hidden

# peft looks for it again where a model is quantised.
with nullcontext() if "bitsandbytes" in sys.modules else hidden("bitsandbytes"):
    from peft import LoraConfig as LoraConfig
    from peft import PeftModel as PeftModel
    from peft import get_peft_model as get_peft_model

__all__ = ["LoraConfig", "PeftModel", "get_peft_model"]
