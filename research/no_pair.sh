#!/usr/bin/env bash
# What a network restores that has seen no pair and no photo: the runs of the eighth, ninth, tenth, seventeenth,
# nineteenth and twentieth plan of research/plans.md. Given again, it goes on where it was; rows go to OUT/scores.csv,
# and what the inputs themselves have to OUT/inputs. TASK is one of those below; denoise25 is denoise at sigma 25 alone,
# any is the recipe restore_leaves_any.
# CROPxBATCH is 64x4, four crops of 64, PRECISION float32 and LOSS l1, where they are not said. NETWORK@64 pools locally when
# whole images are restored, in windows of 1.5 times 64 pixels (TLC; NAFNet).
# DEGRADATION pairs is a control: the rain or haze of the pairs of the task's first set, over procedural images.
# usage: research/no_pair.sh DATA OUT RUN ...
# RUN: TASK:NETWORK[@POOLING]:IMAGES:STEPS:LR[:DEGRADATION[+DEGRADATION ...][:CROPxBATCH[:PRECISION[:LOSS]]]]
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
declare -A of_pairs=([derain]=rain_streaks [dehaze]=haze_of_pairs:HazeOfPairs)
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} # for haze_of_pairs
sigma="{name: gaussian_noise, sigma: 25, clip: false}"

measure() { # task, set, folder for the scores, options ...
  local task=$1 name=$2 scores=$3 extra=()
  shift 3
  if [ "$task" = denoise ]; then extra=(--degradation "$sigma"); fi
  $gesso evaluate --task "$task" --data "$data/$name" --out "$scores" --overwrite true "${extra[@]}" "$@"
}

for run in "$@"; do
  IFS=: read -r task network images steps lr degradation crops precision loss <<<"$run"
  folder=$out/${run//:/_} crop=${crops:-64x4}
  if [ -e "$folder/done" ]; then continue; fi
  backbone=${network%@*} pooling=()
  if [ "$backbone" != "$network" ]; then pooling=(--backbone_args.train_size "[${network#*@}, ${network#*@}]"); fi
  source=$images tested=$task start=(--pretext_args.task "$task")
  if [ "$images" = photos ]; then source=$data/clean_bsds; fi
  case $degradation in
    "") ;;
    pairs) start=(--pretext_args "{degradation: {name: '${of_pairs[$task]}', folder: $data/${sets[$task]%% *}}}") ;;
    *+*) start=(--pretext_args "{degradation: {name: mix, choices: [${degradation//+/, }]}}") ;;
    *) start=(--pretext_args.degradation "$degradation") ;;
  esac
  if [ "$task" = denoise25 ]; then tested=denoise start=(--pretext_args "{degradation: $sigma}"); fi
  if [ -n "$loss" ]; then start+=(--pretext_args.loss "$loss"); fi
  if [ "$task" = any ]; then tested="${!sets[*]}" start=(--config restore_leaves_any); fi
  resume=()
  if [ -e "$folder/last.ckpt" ]; then resume=(--resume true); fi
  mkdir -p "$folder"
  TIMEFORMAT=%U # seconds of processor time, one line for each part of an interrupted run
  { time $gesso pretrain --pretext restore "${start[@]}" --backbone "$backbone" "${pooling[@]}" --images "$source" \
    --crop_size "${crop%x*}" --batch_size "${crop#*x}" --optimizer adamw --lr "$lr" --betas "[0.9,0.999]" \
    --schedule cosine --steps "$steps" --save_every 400 --sample_every 0 --precision "${precision:-float32}" \
    --out "$folder" "${resume[@]}" 2>&3; } 3>&2 2>>"$out/${run//:/_}.seconds"
  for task_tested in $tested; do
    for name in ${sets[$task_tested]}; do
      if [ ! -e "$out/inputs/$name/scores.json" ]; then measure "$task_tested" "$name" "$out/inputs/$name"; fi
      measure "$task_tested" "$name" "$folder/$name" --checkpoint "$folder/backbone.safetensors" --tile none
      ${PYTHON:-python} "$here/no_pair_row.py" "$out/scores.csv" "$task" "$network" "$images" "$steps" "$lr" \
        "$degradation${crops:+ $crops}${precision:+ $precision}${loss:+ $loss}" "$folder/$name"
    done
  done
  touch "$folder/done"
done
