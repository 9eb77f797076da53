#!/usr/bin/env bash
# Puts finished runs of no_pair.sh into the package as primed networks, with what they reach on real pairs.
# usage: research/ship.sh OUT PACKAGE TASK:NETWORK:IMAGES:STEPS:LR ...     (PACKAGE is gesso/primed, or gesso_primed)
set -euo pipefail
out=$(realpath "$1") package=$(realpath -m "$2")
shift 2
gesso=${GESSO:-gesso}

for run in "$@"; do
  IFS=: read -r task network _ <<<"$run"
  network=${network%@*}
  folder=$out/${run//:/_} tasks=()
  if [ ! -e "$folder/done" ]; then echo "$folder: not finished; no_pair.sh goes on with it" >&2 && exit 1; fi
  if [ "$task" = any ]; then tasks=(--tasks "[derain, denoise, realnoise, dehaze, deblur, lowlight]"); fi
  list() { printf '['; printf '%s,' "$@"; printf ']'; }
  minutes=$(awk '{ sum += $1 } END { printf "%.1f", sum / 60 }' "$out/${run//:/_}.seconds")
  names=$(cd "$folder" && ls -d */ | while read -r name; do if [ -e "$name/scores.json" ]; then echo "${name%/}"; fi; done)
  $gesso primed add "$task/$network" --from_run "$folder" --out "$package" --minutes "$minutes" --overwrite true "${tasks[@]}" \
    --scores "$(list $(printf "$folder/%s/scores.json " $names))" \
    --inputs "$(list $(printf "$out/inputs/%s/scores.json " $names))"
done
