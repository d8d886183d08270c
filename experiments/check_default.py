"""Compares the summary of `taper adapt --json` (standard input) with what the default recipe is held to.

usage: check_default.py SECONDS, the wall time of the run. Exit code 1 if a bar is missed.
"""

import json
import sys

summary = json.load(sys.stdin)
rows = [
    ("test accuracy, INT8", summary["accuracy_int8"], ">=", 0.975),
    ("parameters, share left", summary["parameters_after"] / summary["parameters_before"], "<=", 1 / 300),
    ("speed-up", summary["speedup"], ">=", 30),
    ("seconds", float(sys.argv[1]), "<=", 15 * 60),
]
met = {">=": lambda found, bar: found >= bar, "<=": lambda found, bar: found <= bar}
missed = False
for name, found, relation, bar in rows:
    verdict = "ok" if met[relation](found, bar) else "MISSED"
    missed |= verdict != "ok"
    print(f"{name:<24} {found:>10.5g}  {relation} {bar:<10.5g} {verdict}")
sys.exit(1 if missed else 0)
