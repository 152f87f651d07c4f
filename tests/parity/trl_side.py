"""TRL's side: one optimiser step of TRL's own trainer per case, its loss and gradient written down.

    TRL_PYTHON -I trl_side.py inputs.json outputs.json

Runs in an environment with TRL, where Collimate is not. `inputs` names the models' folders, the rows
and the cases; `outputs` holds a record per case, the token ids that TRL trained on, the labels that KTO
makes of pairs, in order, and the options that this version of TRL has.
"""

import dataclasses
import inspect
import json
import os
import re
import sys
import tempfile
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import datasets
import torch
import transformers
import trl
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.tpo import TPOConfig, TPOTrainer

TRAINERS = {
    "DPO": (trl.DPOConfig, trl.DPOTrainer),
    "KTO": (trl.KTOConfig, trl.KTOTrainer),
    "CPO": (CPOConfig, CPOTrainer),
    "ORPO": (ORPOConfig, ORPOTrainer),
    "TPO": (TPOConfig, TPOTrainer),
}
COMPARED = ("DPO", "KTO")  # trainers with a reference
COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "reference_ids", "completion_ids")
COLUMNS += ("KL_completion_ids", "chosen_input_ids", "rejected_input_ids", "chosen_labels")


class Gradients(TrainerCallback):
    """What the optimiser is given, of the parameters named."""

    def __init__(self, names):
        self.names, self.found = names, {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        parameters = dict(model.named_parameters())
        self.found = {name: parameters[name].grad.flatten().tolist() for name in self.names}


def model_in(folder):
    """The model in `folder`, in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def step(case, inputs):
    """One step over all rows, in `micro_batches` equal parts: the trainer, its loss and gradient."""
    make_config, make_trainer = TRAINERS[case["trainer"]]
    rows, parts = inputs["rows"][case["trainer"]], case["micro_batches"]
    watched = Gradients(inputs["parameters"])
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(
            output_dir=folder,
            per_device_train_batch_size=len(rows) // parts,
            gradient_accumulation_steps=parts,
            max_steps=1,
            learning_rate=0.0,
            max_grad_norm=0.0,
            max_length=128,
            train_sampling_strategy="sequential",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            **case["options"],
        )
        policy = model_in(inputs["models"][case["policy"]])
        reference = model_in(inputs["models"]["reference"])
        if case["reference"] == "not given":  # an object, moved since it was loaded
            weights, policy = policy.state_dict(), reference
            policy.load_state_dict(weights)
            reference = None
        more = {"ref_model": reference} if case["trainer"] in COMPARED else {}
        trainer = make_trainer(
            model=policy,
            args=config,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(inputs["models"]["reference"]),
            callbacks=[watched],
            **more,
        )
        done = trainer.train()
    return trainer, {
        "loss": done.training_loss,
        "gradient": watched.found,
        "logged": trainer.state.log_history[0],
    }


def outcome(case, inputs):
    """The record of a case: of a step, or of the error that stopped it."""
    try:
        return step(case, inputs)[1]
    except (ValueError, RuntimeError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def tokens(trainer):
    """The token ids that a trainer made of its rows."""
    found = trainer.train_dataset
    return {name: list(found[name]) for name in COLUMNS if name in found.column_names}


def options_of(make_config):
    """The options that a config has beyond those of every TRL trainer."""
    return sorted(make_config.__annotations__)


def loss_types_of(make_config, make_trainer):
    """What `loss_type` may be."""
    choices = {f.name: f.metadata.get("choices") for f in dataclasses.fields(make_config)}
    if "loss_type" not in choices:
        return []
    if choices["loss_type"]:
        return sorted(choices["loss_type"])
    source = inspect.getsource(make_trainer._compute_loss)
    return sorted(set(re.findall(r'loss_type == "([\w-]+)"', source)))


def main(path_in, path_out):
    """Run every case."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    with open(path_in, encoding="utf-8") as file:
        inputs = json.load(file)
    plain = {"options": {}, "micro_batches": 1, "policy": "policy", "reference": "given"}
    pairs = {**inputs, "rows": {"KTO": inputs["rows"]["DPO"]}}
    source = inspect.getsource(trl.DPOTrainer._compute_loss)
    outputs = {
        "version": trl.__version__,
        "cases": [outcome(case, inputs) for case in inputs["cases"]],
        "tokens": {name: tokens(step({**plain, "trainer": name}, inputs)[0]) for name in TRAINERS},
        "labels of pairs": list(step({**plain, "trainer": "KTO"}, pairs)[0].train_dataset["label"]),
        "options": {name: options_of(config) for name, (config, _) in TRAINERS.items()},
        "loss_types": {name: loss_types_of(*both) for name, both in TRAINERS.items()},
        "f_divergence_types": sorted(set(re.findall(r'f_divergence_type == "(\w+)"', source))),
    }
    with open(path_out, "w", encoding="utf-8") as file:
        json.dump(outputs, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
