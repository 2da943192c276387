"""Compare what models remember: does a shape that was hidden come out the same, and with another memory, or none?

python examples/compare_memories.py default runs/slots/pipeline runs/bank/pipeline --count 16
"""

import argparse

from malt import load_pipeline, open_world
from malt.evaluation.evaluated_model import evaluated_model_of
from malt.evaluation.metrics.recall import USES, Recall
from malt.evaluation.result import summarise

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("models", nargs="*", default=["default"], help="models trained on the world `passage`")
parser.add_argument("--count", type=int, default=4, help="moments at which a shape is hidden, for each of four spans")
parser.add_argument("--seed", type=int, default=0, help="of the scenes, none of which was trained on")
options = parser.parse_args()
recall = Recall(world=open_world("passage"), per_bin=options.count)

print(f"{'model':24}{'memory':14}{'bytes':>10}" + "".join(f"{use:>20}" for use in USES.values()))
for name in options.models:
    pipe = load_pipeline(name)
    segment = next(pipe.stream("two shapes pass behind a wall", num_frames=1))
    figures = summarise([recall.run(evaluated_model_of(pipe), options.seed)])["figures"]
    found = [figures.get(f"same, {use}") for use in USES.values()]
    shares = [None if figure is None else figure["mean"] for figure in found]
    row = "".join(f"{'-' if share is None else f'{share:.0%}':>20}" for share in shares)
    print(f"{name[-23:]:24}{pipe.transformer.config.memory:14}{segment.memory_bytes:>10,}{row}")
print(f"by chance {recall.oracle.chance:.0%} come out the same")
