"""Call every numba function of the run once, so that its compiled form is cached before the first job."""

import time

import numpy as np
import torch


def main() -> None:
    """Run tiny inputs through Tomtom, FIMO-like scans, shuffles and seqlet callers."""
    started = time.time()
    from memelite import tomtom

    rng = np.random.default_rng(0)
    pwms = [np.ascontiguousarray(rng.dirichlet(np.ones(4), size=w).T) for w in (6, 8, 10)]
    tomtom(pwms, pwms)

    from marginome import dinucleotide_shuffle, random_one_hot, recursive_seqlets, shuffle

    sequences = random_one_hot((2, 4, 60), random_state=0)
    dinucleotide_shuffle(sequences, n=2, random_state=0)
    shuffle(sequences, n=2, random_state=0)
    recursive_seqlets(torch.randn(2, 200, generator=torch.Generator().manual_seed(0)))
    print(f"compiled in {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
