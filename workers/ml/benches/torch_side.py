"""Trains a LoRA adapter with PyTorch and PEFT and prints what it cost as one line of JSON.

The other side is benches/training.rs; benches/compare.py runs both. Nothing is downloaded: the weights are
random, of the shape that the given config.json describes.
"""

import argparse
import json
import os
import resource
import statistics
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("config")
arguments.add_argument("--batch", type=int, required=True)
arguments.add_argument("--length", type=int, required=True)
arguments.add_argument("--targets", required=True, help="comma between names")
arguments.add_argument("--rank", type=int, default=8)
arguments.add_argument("--dropout", type=float, default=0.0)
arguments.add_argument("--threads", type=int, required=True)
arguments.add_argument("--steps", type=int, default=8)
arguments.add_argument("--warm-up", type=int, default=2)
given = arguments.parse_args()

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = str(given.threads)

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(given.threads)
torch.manual_seed(0)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


libraries_mib = peak_mib()
with open(given.config) as file:
    fields = json.load(file)
config = AutoConfig.for_model(**fields)
model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
model.config.use_cache = False
model = get_peft_model(
    model,
    LoraConfig(
        r=given.rank,
        lora_alpha=2 * given.rank,
        lora_dropout=given.dropout,
        target_modules=given.targets.split(","),
        fan_in_fan_out=fields["model_type"] == "gpt2",
        task_type="CAUSAL_LM",
    ),
)
model.train()
learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(learned, lr=1e-3, weight_decay=0.01)
tokens = torch.randint(0, fields["vocab_size"], (given.warm_up + given.steps, given.batch, given.length))

seconds, cpu_seconds = [], []
for step, batch in enumerate(tokens):
    wall, cpu = time.perf_counter(), time.process_time()
    loss = model(batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    value = loss.item()
    if step >= given.warm_up:
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)

print(
    json.dumps(
        {
            "side": "torch",
            "seconds": seconds,
            "cpu_seconds": statistics.mean(cpu_seconds),
            "peak_mib": peak_mib(),
            "libraries_mib": libraries_mib,
            "loss": value,
            "versions": {"torch": torch.__version__},
        }
    )
)
