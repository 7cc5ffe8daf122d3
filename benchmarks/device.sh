#!/usr/bin/env bash
# All that is to be seen on a GPU, in at most 8 minutes; without one, `DEVICE=cpu SMOKE=1` tries the script.
#
#     OUT=results bash benchmarks/device.sh
#
# Each step has a limit and goes on from a journal; a step that fails stops no other, and all end with LIMIT
# seconds. At most 8 files under $OUT: device.log, contract.log, first_token_cuda.json with its journal .jsonl
# and table .txt, profile.txt, diverse.txt, published.txt. COMMIT names the commit where there is no checkout,
# PY the interpreter, STEPS what is run.
set -u
cd "$(dirname "$0")/.."
OUT=${OUT:-results} PY=${PY:-python3} DEVICE=${DEVICE:-cuda} COMMIT=${COMMIT:-}
LIMIT=${LIMIT:-480} STEPS=${STEPS:-where first profile diverse contract rest published}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
mkdir -p "$OUT"
began=$SECONDS
named=("--device" "$DEVICE" ${COMMIT:+--commit "$COMMIT"})
journal=(--journal "$OUT/first_token_$DEVICE.jsonl" --out "$OUT/first_token_$DEVICE.json")

# step LIMIT LOG COMMAND...: run a command for at most LIMIT seconds, its output appended to LOG
step() {
    local limit=$1 log=$OUT/$2 from=$SECONDS status left=$((LIMIT - SECONDS + began))
    shift 2
    [ "$limit" -gt "$left" ] && limit=$left
    [ "$limit" -lt 5 ] && echo "skipped, no time is left: ${*:1:3}" | tee -a "$OUT/device.log" && return
    timeout --kill-after=5 "$limit" "$@" >>"$log" 2>&1
    status=$?
    echo "$((SECONDS - began)) s: ${*:1:3} ... took $((SECONDS - from)) s, status $status" |
        tee -a "$OUT/device.log"
}

first() { # LIMIT SHAPES and more options
    local limit=$1
    shift
    step "$limit" "first_token_$DEVICE.txt" "$PY" benchmarks/first_token.py "${named[@]}" \
        "${journal[@]}" "$@"
}

run_where() {
    step 60 device.log "$PY" - <<'PYTHON'
import importlib.util, platform, torch, transformers, triton
print(platform.python_version(), torch.__version__, transformers.__version__, triton.__version__)
print(torch.cuda.get_device_name(), torch.cuda.get_device_capability()) if torch.cuda.is_available() else None
print("flash_attn", importlib.util.find_spec("flash_attn") is not None)
PYTHON
}

if [ -n "${SMOKE:-}" ]; then
    run_first() { first 300 --smoke; }
    run_profile() { step 120 profile.txt "$PY" benchmarks/profile_prefill.py --device "$DEVICE" --reduction aim fovea; }
    run_diverse() { :; }
    run_rest() { :; }
    some='llava or method'
else
    run_first() { # the most wanted first; each goes on where it was cut
        first 110 --shapes onevision-7b --decode-rounds 1
        first 50 --shapes onevision-0.5b --decode-rounds 1
    }
    run_diverse() { step 25 diverse.txt "$PY" benchmarks/diverse_kernel.py --device "$DEVICE"; }
    run_profile() { step 50 profile.txt "$PY" benchmarks/profile_prefill.py --device "$DEVICE" \
        --shape onevision-7b --frames 32 --reduction aim aim-prune fovea unreduced; }
    run_rest() {
        first 70 --shapes qwen2.5-vl-7b --decode-rounds 1
        first 20 --shapes onevision-7b --frames 32 --attention flash_attention_2 --decode-rounds 1
    }
    some=''
fi

run_contract() {
    step 140 contract.log "$PY" -m pytest tests/gpu --device "$DEVICE" -n "${WORKERS:-12}" -q \
        -p no:cacheprovider -o addopts= --dist worksteal --import-mode=importlib -m '' -rsf \
        --tb=short ${some:+-k "$some"}
}

run_published() {
    if [ -d "${AIM_CODE:-/nowhere}" ]; then
        step 60 published.txt "$PY" benchmarks/published.py --code "$AIM_CODE" --python "${AIM_PYTHON:-$PY}" \
            --frames 8 --journal "$OUT/published.jsonl" --out "$OUT/published_$DEVICE.json"
    else
        echo "skipped: AIM's published code, for AIM_CODE names no checkout" | tee -a "$OUT/device.log"
    fi
}

for name in $STEPS; do "run_$name"; done
cat "$OUT/first_token_$DEVICE.txt"
tail -n 40 "$OUT/contract.log" 2>/dev/null
echo "all: $((SECONDS - began)) s" | tee -a "$OUT/device.log"
