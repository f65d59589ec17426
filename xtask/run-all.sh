#!/bin/sh
# Runs every test executable in this folder and says which failed. Arguments go to each of them.
# Needs the device's driver; for CUDA also NVRTC and headers (CUDA_PATH, or /usr/local/cuda).
cd "$(dirname "$0")" || exit 1
# A graph that is being captured tolerates no other thread that allocates on the GPU.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-1}"
failed=""
for executable in ./*.test; do
    echo "==> $executable"
    "$executable" "$@" || failed="$failed $executable"
done
[ -z "$failed" ] && exit 0
echo "failed:$failed"
exit 1
