"""What a GPU has to do: each piece of work side by side with tangermeme, and a verdict against the ratio asked for.

    make cuda PYTHON=python3            # the CUDA tests, then this

Both sides run in one process and take turns; ratios are of medians. The floors are what the design asks for of an H100;
they are a verdict to read, not a test, since a neighbour on the machine can move them.
"""

from __future__ import annotations

import argparse
import datetime
import warnings

import bench_attribution
import torch
from bench_engine import HEADING, Beluga, Counts, bpnet, mutagenesis, screen

from marginome import Readout, load_model

SCREEN = {"float32": 10.0, "tf32": 15.0, "bfloat16": 30.0}
RAW, BELUGA, DEEP_LIFT = 7.0, 35.0, 4.0


def main() -> None:
    """Print the tables and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backgrounds", default=100, type=int)
    parser.add_argument("--motifs", default=256, type=int)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--device", default="cuda", type=torch.device)
    args = parser.parse_args()
    args.peer_motifs, args.batch, args.sequences, args.quick = 8, 512, 16, False
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    import tangermeme

    name = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "CPU"
    print(f"{datetime.date.today()}, {name}, PyTorch {torch.__version__}, tangermeme {tangermeme.__version__}, "
          f"{args.backgrounds} backgrounds x {args.motifs} motifs of 10 bp\n\n{HEADING}")  # fmt: skip
    verdict = []

    def judge(work: str, ratio: float, floor: float) -> None:
        verdict.append(f"| {work} | {ratio:.1f}x | {floor:g}x | {'reached' if ratio >= floor else 'NOT REACHED'} |")

    both, counts = bpnet(), Counts(bpnet()).eval()
    for work, model in (("BPNet, both heads", both), ("BPNet, counts", counts)):
        ratios = screen(work, model, 2114, args)
        for precision in dict.fromkeys(p for p, _ in ratios):
            best = max(ratio for (p, _), ratio in ratios.items() if p == precision)
            judge(f"{work}, reduced, {precision}", best, SCREEN[precision])
    ratios = screen("BPNet, both heads", both, 2114, args, raw=True, precisions=["tf32"], ways=["triton"])
    judge("BPNet, both heads, raw, tf32", max(ratios.values()), RAW)
    ratios = screen("Beluga-shaped", Beluga().eval(), 2000, args, precisions=["tf32"], ways=["triton"])
    judge("Beluga-shaped, reduced, tf32", max(ratios.values()), BELUGA)
    mutagenesis(args)

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    weights = bench_attribution.ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
    shipped = load_model("bpnet", {"loader": "bpnet_lite", "weights": str(weights), "input_length": 2114}).module
    print("\nDeepLIFT/SHAP, TF32 off on both sides: pairs per second of marginome and of tangermeme, ratio, error")
    for given in (True, False):
        work = "BPNet counts, " + ("references given" if given else "own shuffles")
        ratio = bench_attribution.compare(
            work, Readout(shipped, 1), 2114, 64, given, args.device.type, args.batch, args.repeats
        )
        judge(f"DeepLIFT/SHAP, {work}", ratio, DEEP_LIFT)
    print("\n| work | ratio | asked for | |\n|---|---|---|---|")
    print("\n".join(verdict), flush=True)


if __name__ == "__main__":
    main()
