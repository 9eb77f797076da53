#!/usr/bin/env bash
# Does PTG-RM help on few real pairs? Refined against as many further steps without the refiner, three seeds.
# usage: research/ptg_rm/run.sh DATA OUT      (DATA holds derain_rain100h and lowlight_lol_train)
set -euo pipefail
data=$1 out=$2
gesso=${GESSO:-gesso}
few="--init random --loss l1 --crop_size 64 --batch_size 4 --optimizer adamw --lr 1e-3 --betas [0.9,0.999] --weight_decay 1e-4"
few="$few --schedule cosine --warmup_steps 20 --sample_every 0 --save_every 0 --overwrite"
more="--crop_size 64 --batch_size 4 --optimizer adamw --lr 3e-4 --betas [0.9,0.999] --schedule cosine --warmup_steps 0 --steps 200 --val_every 200"

prior=$out/prior/backbone.safetensors
[ -f "$prior" ] || $gesso pretrain --pretext restore --images leaves --backbone nafnet_tiny --crop_size 64 --batch_size 4 \
  --steps 1500 --optimizer adamw --lr 1e-3 --schedule cosine --sample_every 0 --out "$out/prior"

for network in nafnet_tiny restormer_tiny; do
  for seed in 0 1 2; do
    for set in derain:derain_rain100h:4 lowlight:lowlight_lol_train:2; do
      IFS=: read -r task folder held <<< "$set"
      run=$out/$task/$network/$seed
      pairs="--task $task --data $data/$folder --holdout $held --seed $seed"
      base=$run/base/backbone.safetensors
      [ -f "$base" ] || $gesso finetune $few $pairs --backbone $network --steps 300 --val_every 300 --out "$run/base"
      [ -f "$run/longer/backbone.safetensors" ] || $gesso finetune $few $pairs --backbone $network $more --weight_decay 0 \
        --init "$base" --keep_last --out "$run/longer"
      [ -f "$run/refined/backbone.safetensors" ] || $gesso refine $pairs --checkpoint "$base" --prior "$prior" $more \
        --sample_every 0 --save_every 0 --overwrite --out "$run/refined"
    done
  done
done
