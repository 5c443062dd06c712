"""Measures the training of LoRA adapters on the CPU against PyTorch and PEFT, side by side.

    python workers/ml/benches/compare.py [--python PYTHON] [--rounds 5] [--shapes gpt2-6x384,...]

Both sides train the same shape (benches/shapes), with the same batch, adapter and number of threads, in turn and
in processes of their own, several rounds of each; the table has medians over all steps of all rounds. PYTHON is
an interpreter with torch, transformers and peft. Anything else that computes meanwhile blurs wall times; seconds
of CPU per step suffer less.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RUNS = {
    "gpt2-6x384": {"batch": 8, "length": 128, "targets": "c_attn"},
    "gpt2-small": {"batch": 2, "length": 128, "targets": "c_attn"},
    "llama-6x384": {"batch": 8, "length": 128, "targets": "q_proj,k_proj,v_proj,o_proj"},
}


# What a worker sets for the process that trains: `JobFile::environment`.
KEEP_MEMORY = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"
ENVIRONMENT = {"Anneal": {"GLIBC_TUNABLES": KEEP_MEMORY}}


def engine():
    """Builds the Rust side and says where it is."""
    build = ["cargo", "bench", "-p", "ml", "--bench", "training", "--no-run", "--message-format=json"]
    out = subprocess.run(build, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "training":
            return message["executable"]
    raise SystemExit("cargo built no benchmark")


def run(command, threads, more):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads), **more)
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(out.splitlines()[-1])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--binary", help="the built Rust side; built if not given")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--shapes", default=",".join(RUNS))
    arguments.add_argument("--dropouts", default="0,0.05")
    given = arguments.parse_args()
    binary = given.binary or engine()
    print("| shape | dropout | side | tokens/s | CPU s/step | peak MiB | of it before the model | load |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in given.shapes.split(","):
        for dropout in given.dropouts.split(","):
            compare(given, binary, shape, dropout)


def compare(given, binary, shape, dropout):
    chosen = RUNS[shape]
    config = str(HERE / "shapes" / f"{shape}.json")
    common = []
    for name, value in {
        **chosen, "rank": 8, "dropout": dropout, "steps": given.steps, "warm-up": 2,
    }.items():
        common += [f"--{name}", str(value)]
    sides = {
        "PyTorch + PEFT": [given.python, str(HERE / "torch_side.py"), config, "--threads", str(given.threads), *common],
        "Anneal": [binary, "--config", config, *common],
    }
    found = {side: [] for side in sides}
    loads = []
    for _ in range(given.rounds):
        for side, command in sides.items():
            loads.append(os.getloadavg()[0])
            found[side].append(run(command, given.threads, ENVIRONMENT.get(side, {})))
    speed, cpu, peak = {}, {}, {}
    for side, runs in found.items():
        seconds = statistics.median(second for run in runs for second in run["seconds"])
        speed[side] = chosen["batch"] * chosen["length"] / seconds
        cpu[side] = statistics.median(run["cpu_seconds"] for run in runs)
        peak[side] = statistics.median(run["peak_mib"] for run in runs)
        before = statistics.median(run["libraries_mib"] for run in runs)
        load = f"{min(loads):.1f}–{max(loads):.1f}"
        print(
            f"| {shape} | {dropout} | {side} | {speed[side]:.0f} | {cpu[side]:.3f} | {peak[side]:.0f} | {before:.0f} | {load} |"
        )
    theirs, ours = sides
    ratios = [speed[ours] / speed[theirs], cpu[theirs] / cpu[ours], peak[ours] / peak[theirs]]
    print("| | | ratio | **{:.2f} ×** | {:.2f} × less | {:.2f} of it | | |".format(*ratios), flush=True)


if __name__ == "__main__":
    main()
