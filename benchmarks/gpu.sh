#!/bin/sh
# Every comparison of the kernels on this machine's GPU, in less than eight minutes, into benchmarks/results/<gpu>/, and
# in eight more those of training on all of its GPUs, where there are two or more:
#     sh benchmarks/gpu.sh [pytest's arguments]
# It needs `make setup` (or: pip install ./kernels pytest pytest-benchmark pytest-timeout, and a torch for this GPU);
# peers that are not installed are named in their rows.
set -e
cd "$(dirname "$0")/.."
compare() {
    timeout 480 "${PYTHON:-python3}" -m pytest --benchmark -q -p no:cacheprovider "$@"
}
compare benchmarks/test_rms_norm.py benchmarks/test_qk_norm_rope.py benchmarks/test_rope_attention.py \
    benchmarks/test_linear_cross_entropy.py benchmarks/test_attention_decode.py \
    benchmarks/test_layer_norm.py benchmarks/test_cross_entropy.py "$@"
compare benchmarks/test_many_gpus.py "$@"
