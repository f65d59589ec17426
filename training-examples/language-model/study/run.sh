#!/bin/bash
# One part of the study: trains every run that the lines of PLAN name, GPUS at a time, and keeps their results.
#
#     run.sh PROGRAM TOKENS PLAN OUT [GPUS [FIRST]]
#
# PROGRAM is `language-model`, TOKENS a folder that its `tokenize` wrote. A line of PLAN is a name and the
# options of a training. A run that OUT has is left alone; one that was cut short goes on.
set -u
program=$1 tokens=$2 plan=$3 out=$4 gpus=${5:-1} first=${6:-0}
mkdir -p "$out"

one() {
    local name=$1 gpu=$2
    shift 2
    local folder=$out/$name
    [ ! -e "$folder/eval.txt" ] || return 0
    # Another call of this script may be at it.
    mkdir "$folder.busy" 2>/dev/null || return 0
    CUDA_VISIBLE_DEVICES=$gpu "$program" train --device cuda --data "$tokens" --output "$folder" --resume "$@" \
        >>"$folder.log" 2>&1 &&
        CUDA_VISIBLE_DEVICES=$gpu "$program" eval --device cuda --output "$folder" >"$folder.eval" 2>>"$folder.log" &&
        mv "$folder.eval" "$folder/eval.txt"
    local status=$?
    rmdir "$folder.busy"
    return $status
}

# Each GPU takes the next line when it is done with its last.
exec 3< <(grep -v '^ *\(#\|$\)' "$plan")
lock=$(mktemp)
worker() {
    local name options
    while { flock 9 && read -r -u 3 name options; } 9>"$lock"; do
        # shellcheck disable=SC2086 # a list of words
        one "$name" "$1" $options || echo "$name failed" >>"$out/failed"
    done
}
for gpu in $(seq "$first" $((first + gpus - 1))); do worker "$gpu" & done
wait
