"""The core alone: time and memory of the graph as it grows, from core_bench."""

import json
import subprocess

from measuring import progress, slope

# Of the shapes, those in which everybody waits for one lock.
ON_ONE_LOCK = ("row_lock_pile", "readers_behind_exclusive", "mixed_modes")
# Shapes that are shown, but of which no incident is known, and which are known to grow with the square.
WITHOUT_TARGET = ("staircase",)


def bench_core(plan, targets):
    progress("Core alone")
    command = ["./core_bench", "--benchmark_format=json", "--benchmark_min_time={}".format(plan.core_seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    milliseconds, megabytes = {}, {}
    for result in json.loads(output)["benchmarks"]:
        what, shape, size = result["name"].split("/")
        if what != "graph_of":
            shape = "{} {}".format(what, shape)
        milliseconds.setdefault(shape, []).append((int(size), result["cpu_time"]))
        megabytes.setdefault(shape, []).append((int(size), result["peak_bytes"] / 1e6))
    print_curves("Core alone, waiters", milliseconds, "{:>9.3f} ms")
    print_curves("Core alone, memory at its peak", megabytes, "{:>9.3f} MB")

    slowest = max(dict(milliseconds[shape])[10000] for shape in ON_ONE_LOCK)
    targets.at_most("core, 10000 waiters on one lock", slowest, 10, " ms")
    # The fit is never exact: caches make small graphs cheap, and a tenth allows for that.
    for what, curves in ("time", milliseconds), ("memory", megabytes):
        exponents = {
            shape: slope(points) for shape, points in curves.items() if shape not in WITHOUT_TARGET
        }
        worst = max(exponents, key=exponents.get)
        targets.at_most("core, largest exponent of {} ({})".format(what, worst), exponents[worst], 1.1)


def print_curves(title, curves, form):
    sizes = [size for size, _ in next(iter(curves.values()))]
    print("\n{:<38}{}{:>12}".format(title, "".join("{:>12}".format(size) for size in sizes), "exponent"))
    for shape, points in curves.items():
        figures = "".join(form.format(value) for _, value in points)
        print("  {:<36}{}{:>12.2f}".format(shape, figures, slope(points)), flush=True)
