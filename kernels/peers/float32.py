"""Times of a loop over offsets in float32 without TF32: gather, product, index_add (PyTorch, a CUDA device).

python3 float32.py CLOUD.npy   # int32 (rows, 3)

Forward, dgrad and wgrad of 3x3x3 submanifold layers of 32, 64 and 128 channels, in ms: between events, launches
included, with a flushed L2; the median of seven after two.
"""
import sys

import numpy as np
import torch

CHANNELS = (32, 64, 128)
RUNS, WARM_UP = 9, 2
FLUSH_BYTES = 100 << 20


def pair_lists(cells):
    """Input and output rows of each offset, on the device."""

    def keys(of):
        of = of + 1
        return of[:, 0] << 40 | of[:, 1] << 20 | of[:, 2]

    order = np.argsort(keys(cells))
    ordered = keys(cells)[order]
    lists = []
    for offset in np.ndindex(3, 3, 3):
        wanted = keys(cells + np.array(offset) - 1)
        place = np.clip(np.searchsorted(ordered, wanted), 0, len(ordered) - 1)
        found = ordered[place] == wanted
        lists.append((torch.tensor(order[place[found]]).cuda(), torch.tensor(np.nonzero(found)[0]).cuda()))
    return lists


def median_ms(work, flush):
    times = []
    for run in range(RUNS):
        flush.fill_(run)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    times = sorted(times[WARM_UP:])
    return times[len(times) // 2]


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    cells = np.load(sys.argv[1]).astype(np.int64)
    lists, rows = pair_lists(cells), len(cells)
    print(f"PyTorch {torch.__version__}, {rows} rows, {sum(len(i) for i, _ in lists)} pairs")
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    for channels in CHANNELS:
        x = torch.randn(rows, channels, device="cuda")
        g = torch.randn(rows, channels, device="cuda")
        w = torch.randn(len(lists), channels, channels, device="cuda")

        def forward():
            y = torch.zeros_like(g)
            for weights, (in_rows, out_rows) in zip(w, lists):
                y.index_add_(0, out_rows, x[in_rows] @ weights)

        def dgrad():
            dx = torch.zeros_like(x)
            for weights, (in_rows, out_rows) in zip(w, lists):
                dx.index_add_(0, in_rows, g[out_rows] @ weights.T)

        def wgrad():
            torch.stack([x[in_rows].T @ g[out_rows] for in_rows, out_rows in lists])

        times = " / ".join(f"{median_ms(work, flush):.3f}" for work in (forward, dgrad, wgrad))
        print(f"{channels}: forward / dgrad / wgrad {times} ms")


if __name__ == "__main__":
    main()
