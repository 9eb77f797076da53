#!/usr/bin/env bash
# What a network restores that has seen no pair and no photo: the runs of the eighth and ninth plan of research/plans.md.
# Given again, it goes on where it was; rows go to OUT/scores.csv.
# usage: research/no_pair.sh DATA OUT TASK:NETWORK:IMAGES:STEPS:LR[:DEGRADATION[+DEGRADATION ...]] ...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) data=$(realpath "$1") out=$(realpath -m "$2")
shift 2
gesso=${GESSO:-gesso}
mkdir -p "$out"
cd "$here/starts"

declare -A sets=(
  [derain]="derain_rain100h derain_rain100h_more" [dehaze]="dehaze_sots_indoor dehaze_sots_indoor_more"
  [realnoise]="noise_polyu" [lowlight]="lowlight_lol_train lowlight_fivek_dpe" [deblur]="deblur_gopro"
  [denoise]="clean_cbsd68 clean_set5"
)
sigma="{name: gaussian_noise, sigma: 25, clip: false}"

for run in "$@"; do
  IFS=: read -r task network images steps lr degradation <<<"$run"
  folder=$out/${run//:/_}
  source=$images
  if [ "$images" = photos ]; then source=$data/clean_bsds; fi
  if [ -n "$degradation" ]; then
    start=(--pretext_args "{degradation: {name: mix, choices: [${degradation//+/, }]}}")
  elif [ "$task" = denoise ]; then start=(--pretext_args "{degradation: $sigma}"); else start=(--pretext_args.task "$task"); fi
  if [ ! -e "$folder/done" ]; then
    resume=()
    if [ -e "$folder/last.ckpt" ]; then resume=(--resume true); fi
    $gesso pretrain --pretext restore "${start[@]}" --backbone "$network" --images "$source" --crop_size 64 --batch_size 4 \
      --optimizer adamw --lr "$lr" --betas "[0.9,0.999]" --schedule cosine --steps "$steps" --save_every 400 \
      --sample_every 0 --precision float32 --out "$folder" "${resume[@]}"
    for name in ${sets[$task]}; do
      extra=()
      if [ "$task" = denoise ]; then extra=(--degradation "$sigma"); fi
      $gesso evaluate --task "$task" --data "$data/$name" --checkpoint "$folder/backbone.safetensors" --tile none \
        "${extra[@]}" --out "$folder/$name" --overwrite true
      ${PYTHON:-python} "$here/no_pair_row.py" "$out/scores.csv" "$task" "$network" "$images" "$steps" "$lr" "$degradation" "$folder/$name"
    done
    touch "$folder/done"
  fi
done
