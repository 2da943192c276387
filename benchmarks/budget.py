"""How many operations a step of a recipe takes, and the whole of it: what "equal training compute" means in the proof.

    python benchmarks/budget.py experiments/baselines.py:full default ... [--tera 240]

Counted is what `malt train --plan` counts: the matrix products (attention's among them) of forward and backward passes of
the transformer; what is walked without gradients counts too. `--tera` says how many steps as many operations allow.
"""

import argparse
from dataclasses import replace

from malt.training.planning.gpus import parse_gpus
from malt.training.planning.run_plan import plan_run
from malt.training.recipes import find_recipe


def main() -> None:
    """Count, and print a line for each recipe and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="names, or FILE.py:NAME")
    parser.add_argument("--tera", type=float, help="operations to spend, in 10^12")
    options = parser.parse_args()
    for name in options.recipes:
        plan = plan_run(replace(find_recipe(name)(), precision="float32"), parse_gpus("h100"))
        for steps, each in plan.stages[-1].plain.stages:
            line = f"{name}: {steps} steps of {each / 1e12:.4f} TFLOP"
            print(
                line + (f"; {options.tera:g} TFLOP are {options.tera * 1e12 / each:.0f} steps" if options.tera else "")
            )
        print(f"{name}: {plan.stages[-1].plain.flops / 1e12:.1f} TFLOP")


if __name__ == "__main__":
    main()
