"""The engine: model -> signals -> gradient. The only importer of transformers, accelerate, peft."""

import os

# Read once, when huggingface_hub and transformers are imported; a user who sets them keeps their say.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")  # code from the hub in place of a model's own
