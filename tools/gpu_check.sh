#!/usr/bin/env bash
# Build and check everything that needs an NVIDIA GPU. Expects a Python with a CUDA build of torch (PYTHON).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

LVLM_VA_CUDA=1 "$python" -m pip install --quiet --no-build-isolation --no-deps -e .
"$python" -c "from lvlm_va.runs.environment import show_versions; import sys; sys.stdout.write(show_versions() + '\n')"
"$python" -m pytest -m cuda tests

if command -v compute-sanitizer >/dev/null; then
  # Without torch's caching every allocation is its own, so that no write past an end stays unseen. The tests
  # against the oracles start every kernel; the rest would only repeat that, a hundred times slower.
  for tool in memcheck racecheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$python" -m pytest -m cuda -q tests/ops -k "oracle or strided or absent"
  done
else
  echo "compute-sanitizer is not on this machine: memory and races were not checked." >&2
fi

# Against captum where it is installed. Prints one table; the details go to a file that is not tracked.
"$python" -m pytest benchmarks -m cuda --benchmark-only --benchmark-quiet -q \
  --benchmark-json benchmarks/details.json
