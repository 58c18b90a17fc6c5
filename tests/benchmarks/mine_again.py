"""Wall, CPU and peak memory of ``opsig mine`` from its start to its end: ``python tests/benchmarks/mine_again.py``.

On runs with two planted pairs whose gradients are kept; each time another number of surrogates is asked for, so that
all of them and all halves are made anew. Medians, with the range beside them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from mine import spread

EXAMPLES = 1000, 2000
REPEATS = 5


def main() -> None:
    """Measure, and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for examples in EXAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            run, store = f"{folder}/run", ["--store", f"{folder}/opsig.h5"]
            data = f"planted?scenario=img2&n={examples}&seed=0"
            command("train", run, "--data", data, "--model", "mlp", "--steps", "200", "--save-every", "5")
            command("trace", run, *store)
            command("mine", *store)
            took = [command("mine", *store, "--surrogates", str(38 - number)) for number in range(REPEATS)]
        wall, cpu, peaks = map(list, zip(*took, strict=True))
        print(f"{examples:,} examples: {spread(wall)} s wall, {spread(cpu)} s CPU, {max(peaks):.2f} GiB")


def command(*words: str) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak memory, GiB, of a command in a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "opsigcli", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
