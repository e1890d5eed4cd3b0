"""pgbench on a server with and without the module preloaded."""

import re
import statistics
import subprocess

from measuring import progress, ratio_with_interval, restart

SCRIPTS = ("select-only", "tpcb-like")


def transactions_per_second(script, seconds):
    command = ["pgbench", "-n", "-b", script, "-c", "4", "-j", "2", "-T", str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"tps = ([\d.]+)", output).group(1))


def bench_preload(data, plan):
    """Pairs on the same data, the order swapped each time: what drifts hits both sides."""
    results = {script: [] for script in SCRIPTS}
    subprocess.run(["pgbench", "-i", "-q", "-s", "10"], check=True, capture_output=True)
    for number in range(plan.preload_pairs):
        progress("pgbench with and without the module, pair {} of {}".format(number + 1, plan.preload_pairs))
        pair = {script: {} for script in SCRIPTS}
        for preloaded in (True, False) if number % 2 else (False, True):
            restart(data, *([] if preloaded else ["shared_preload_libraries="]))
            transactions_per_second("select-only", 1)
            for script in SCRIPTS:
                pair[script][preloaded] = transactions_per_second(script, plan.preload_seconds)
        for script in SCRIPTS:
            results[script].append((pair[script][True], pair[script][False]))
    restart(data)

    title = "pgbench, {} pairs of {} s".format(plan.preload_pairs, plan.preload_seconds)
    print("\n{:<44}{:>12}{:>20}{:>28}".format(title, "preloaded", "not", "ratio (95 %)"))
    for script, pairs in results.items():
        preloaded, plain = (statistics.median(side) for side in zip(*pairs))
        ratio = "{:.3f} ({:.3f} .. {:.3f})".format(*ratio_with_interval(pairs))
        print("  {:<42}{:>8.0f} tps{:>16.0f} tps{:>28}".format(script, preloaded, plain, ratio))
