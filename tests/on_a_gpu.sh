#!/usr/bin/env bash
# Check a machine with CUDA: the tests marked gpu, then two short trainings on the device. It installs nothing: PYTHON is a
# Python that has torch for CUDA and the extras agents and test. It takes about three minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-$(mktemp -d)}
export ZO_GYM_CACHE=${ZO_GYM_CACHE:-$out/cache}

"$python" - <<'CODE'
import torch
assert torch.cuda.is_available(), "torch sees no CUDA device"
print(torch.cuda.get_device_name(0), "torch", torch.__version__, "CUDA", torch.version.cuda)
CODE

"$python" -m pytest -m gpu -s -p no:cacheprovider tests/test_gpu.py

"$python" train.py --device cuda --total-queries 1500 --eval-seeds 2 --no-progress --logdir "$out/runs"
"$python" train.py --device cuda --policy directional --problem digits_attack --total-queries 4000 \
  --eval-seeds 2 --no-progress --logdir "$out/runs"
echo "All passed on this device. Runs: $out/runs"
