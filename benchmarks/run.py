"""All benchmarks, one after the other; their figures go to docs/results."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

if __name__ == "__main__":
    for name in ("speed.py", "quality.py"):
        subprocess.run([sys.executable, str(HERE / name), *sys.argv[1:]], check=True)
