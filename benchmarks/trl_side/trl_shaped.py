"""TRL's side of the other steps; as trl_dpo.py, with the step before its arguments:
    V/bin/python trl_shaped.py kto small 32 4 '{"precompute_ref_log_probs": true}'
kto: KTOTrainer with apo_zero_unpaired, the loss without a KL term; pairs_per_s then counts answers.
reward: RewardTrainer. lora: DPOTrainer with a LoRA adapter (needs peft). `trainable` counts parameters."""
import json
import resource
import sys
import tempfile
import time

from common import SHAPES, model, pairs, tokenizer
from datasets import Dataset
from shaped import LORA, classifier, thumbs
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

step, shape, n, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
extra = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
vocab = SHAPES[shape]["vocab_size"]
net, rows, more = model, pairs, {}
if step == "kto":
    Config, Trainer, rows = KTOConfig, KTOTrainer, thumbs
    extra |= dict(loss_type="apo_zero_unpaired", train_sampling_strategy="random")
elif step == "reward":
    Config, Trainer, net = RewardConfig, RewardTrainer, classifier
else:
    from peft import LoraConfig
    Config, Trainer, more = DPOConfig, DPOTrainer, dict(peft_config=LoraConfig(**LORA))
with tempfile.TemporaryDirectory() as folder:
    net(shape).save_pretrained(f"{folder}/m")
    tok = tokenizer(vocab)
    tok.save_pretrained(f"{folder}/m")
    config = Config(output_dir=f"{folder}/out", per_device_train_batch_size=batch, num_train_epochs=1,
                    logging_steps=1000, report_to=[], save_strategy="no", bf16=False, fp16=False, use_cpu=True,
                    gradient_checkpointing=False, disable_tqdm=True, max_length=1024, learning_rate=1e-5,
                    model_init_kwargs={"dtype": "float32"}, **extra)
    start = time.time()
    trainer = Trainer(model=f"{folder}/m", args=config, train_dataset=Dataset.from_list(rows(n, vocab)),
                      processing_class=tok, **more)
    built = time.time()
    out = trainer.train()
    done = time.time()
print(json.dumps({"side": "trl", "step": step, "shape": shape, "pairs_per_s": n / (done - built),
                  "pairs_per_s_with_setup": n / (done - start), "loss": out.training_loss,
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                  "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)}))
