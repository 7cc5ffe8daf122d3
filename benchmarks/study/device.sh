#!/usr/bin/env bash
# The study on one GPU, a process for each size and seed; every journal goes on where it was cut.
#
#     OUT=results/study bash benchmarks/study/device.sh
#
# Under $OUT: a journal and a log of each process. `cat $OUT/*.jsonl >> results/study.jsonl` joins them: of
# what two processes made, the first counts. LIMIT: seconds of all; PY: the interpreter; COMMIT names the commit
# where there is no checkout.
set -u
cd "$(dirname "$0")/../.."
OUT=${OUT:-results/study} PY=${PY:-python3} LIMIT=${LIMIT:-480}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
mkdir -p "$OUT"
sizes=(2.3M 1.3M 600k 210k 90k 40k)

# part NAME OPTIONS...: one process with a journal of its own, begun with what is known
part() {
    [ -f "$OUT/$1.jsonl" ] || cat results/study.jsonl "$OUT"/rates-*.jsonl >"$OUT/$1.jsonl" 2>/dev/null
    timeout --kill-after=5 $((LIMIT - SECONDS)) "$PY" -m benchmarks.study \
        ${COMMIT:+--commit "$COMMIT"} --journal "$OUT/$1.jsonl" "${@:2}" 2>>"$OUT/$1.log"
}

part rates-40k --rates --sizes 40k # and the features, which all others read
for size in "${sizes[@]::5}"; do part "rates-$size" --rates --sizes "$size" & done
wait
for seed in 0 1; do
    for size in "${sizes[@]}"; do part "$size-$seed" --sizes "$size" --seeds "$seed" & done
done
part corners --sizes 1.3M 40k --seeds 2 &
wait
tail -qn 1 "$OUT"/*.log
