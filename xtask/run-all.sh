#!/bin/sh
# Runs every test executable in this folder and says which failed. Arguments go to each of them.
# Needs the device's driver; for CUDA also NVRTC and headers (CUDA_PATH, or /usr/local/cuda).
# Without arguments, a Hopper GPU also runs the tests that are ignored because they need one.
cd "$(dirname "$0")" || exit 1
# A graph that is being captured tolerates no other thread that allocates on the GPU.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-1}"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
failed=""
for executable in ./*.test; do
    echo "==> $executable"
    "$executable" "$@" || failed="$failed $executable"
    if [ $# -eq 0 ] && [ "$capability" = 9.0 ]; then
        "$executable" --ignored hopper || failed="$failed $executable"
    fi
done
[ -z "$failed" ] && exit 0
echo "failed:$failed"
exit 1
