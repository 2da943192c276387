#!/usr/bin/env bash
# The proof of adapters on one GPU in some eight minutes: trains all beside one another, then measures all so.
#     experiments/adapters.sh BASE OUT
# BASE is runs/wan-base/pipeline of experiments/wan_base.py. OUT gets a log and an adapter for each, and adapters.json.
set -uo pipefail
base=$1 out=$2
cd "$(dirname "$0")/.." && mkdir -p "$out" && export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}
device=${DEVICE:-cuda} python=${PYTHON:-python3}

learn() { # by a recipe; where a CUDA graph of it cannot be recorded, step by step for as long as there is time
    local run=$out/$1 options=(--device "$device" --threads 2 --checkpoint.save-seconds 30)
    timeout 240 "$python" -m malt adapt "experiments/adapters.py:$1" --base "$base" --out "$run" "${options[@]}"
    local ended=$?
    [[ $ended == 0 || $ended == 124 ]] ||
        timeout 200 "$python" -m malt adapt --resume --out "$run" "${options[@]}" --cuda-graphs false
    [ -e "$run/adapter" ] || "$python" -m malt export "$run" --out "$run/adapter"
    date
}

recipes=${RECIPES:-memory context anchor}
for recipe in $recipes; do learn "$recipe" >"$out/$recipe.log" 2>&1 & done
wait
models="default=src/malt/assets/default"
for recipe in $recipes; do models+=" $recipe=$out/$recipe/adapter"; done
for name in default base $recipes; do
    timeout 240 "$python" benchmarks/adapters.py --base "$base" --device "$device" --threads 2 --folder "$out/figures" \
        --only "$name" $models >"$out/measure-$name.log" 2>&1 &
done
wait
"$python" benchmarks/adapters.py --base "$base" --device "$device" --threads 4 --folder "$out/figures" --table \
    --out "$out/adapters.json" $models
tail -n 3 "$out"/*.log
