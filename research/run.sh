#!/usr/bin/env bash
# The comparisons of research/plans.md, in their order; given again, it does what is missing.
# usage: research/run.sh DATA OUT [QUESTION ...]     (DATA holds derain_rain100h, clean_bsds, ...)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) data=$(realpath "$1") out=$(realpath -m "$2")
shift 2
gesso=${GESSO:-gesso}
${PYTHON:-python} "$here/prepare.py" "$data" "$out/pairs"
cd "$here/starts"

few="--steps 400 --val_every 100 --crop_size 64 --batch_size 4 --lr 1e-3 --finetune_args.warmup_steps 20 --finetune_args.keep_last false --seeds 0,1,2"
photos="{restore_photos.yaml: {images: $data/clean_bsds}}"
task_photos="{task_photos.yaml: {images: $data/clean_bsds}}"
pretexts_photos="{$(for name in mfm dcpt ipt degae; do printf '%s_photos.yaml: {images: %s/clean_bsds}, ' $name "$data"; done)}"
scaled="{ifp_scaled.yaml: {images: $out/pairs/noise}}"
transfers=ifp.yaml,ifp_rescaled.yaml,ifp_shrunk.yaml,ifp_slow.yaml
every=ifp.yaml,restore.yaml,restore_photos.yaml,restore_other.yaml,mfm.yaml,dcpt.yaml,ipt.yaml,degae.yaml
parts=ifp.yaml,ifp_short.yaml,ifp_lr.yaml,ifp_many.yaml,ifp_leaves.yaml,ifp_mask50.yaml,ifp_mask25.yaml,ifp_pixels.yaml,ifp_modulus.yaml
more=ifp.yaml,ifp_mask90.yaml,ifp_scaled.yaml,ifp_hundred.yaml,ifp_long.yaml,ifp_amplitudes.yaml,ifp_half.yaml
pushed=task.yaml,task_short.yaml,task_long.yaml,task_pink.yaml,task_white.yaml,task_rings.yaml,task_heavy.yaml,task_shrunk.yaml

ask() { # name, backbone, task, folder, options ...
  local name=$1 backbone=$2 task=$3 folder=$4
  shift 4
  $gesso compare $few --task "$task" --data "$out/pairs/$folder" --backbone "$backbone" --cache "$out/starts/$backbone" \
    --out "$out/$name" "$@"
}

curve() { # name, task, folder, pairs, starts beside random weights, options ...
  local name=$1 task=$2 folder=$3 pairs=$4 starts=$5
  shift 5
  $gesso compare --task "$task" --data "$out/pairs/$folder" --pairs "$pairs" --starts "random,$starts" --out "$out/$name" \
    --cache "$out/starts/nafnet_tiny" --backbone nafnet_tiny --steps 400 --val_every 100 --crop_size 64 --batch_size 4 \
    --seeds 30,31,32 --finetune_args.warmup_steps 20 --tune lr=1e-4,3e-4,1e-3,3e-3 --tune_folds 2 "$@"
}

best() { # name, network, task, folder, seeds: the recipe few_pairs from a network of the package
  $gesso compare --task "$3" --data "$out/pairs/$4" --pairs 16 --out "$out/$1" --backbone "$2" --steps 60 \
    --val_every 60 --crop_size 64 --batch_size 4 --lr 1e-4 --seeds "$5" \
    --finetune_args '{warmup_steps: 6, ema_decay: 0.95, loss: ssim}' \
    --arms '{few_pairs: {init: primed, rehearse: 0.5}, without: {init: primed}}'
}

few_pairs() { # name, task, folder: what helps beside the start
  local own="init: primed:$2"
  $gesso compare --task "$2" --data "$out/pairs/$3" --pairs 16 --out "$out/$1" --arms "{plain: {$own},
    rehearse: {$own, rehearse: 0.5}, rehearse_more: {$own, rehearse: 0.75}, cutblur: {$own, augment: cutblur},
    cutmix: {$own, augment: cutmix}, mixup: {$own, augment: mixup}, average: {$own, ema_decay: 0.999},
    head: {$own, freeze_features: true}}" --backbone nafnet_tiny --steps 400 --val_every 100 --crop_size 64 \
    --batch_size 4 --seeds 40,41,42 --finetune_args.warmup_steps 20 --tune lr=1e-4,3e-4,1e-3 --tune_folds 2
}

short() { # name, task, folder: a few steps with a few pairs
  local own="init: primed:$2"
  $gesso compare --task "$2" --data "$out/pairs/$3" --pairs 16 --out "$out/$1" --arms "{plain: {$own},
    rehearse: {$own, rehearse: 0.5}, average: {$own, ema_decay: 0.95}}" --backbone nafnet_tiny --steps 60 --val_every 10 \
    --crop_size 64 --batch_size 4 --seeds 50,51,52 --finetune_args.warmup_steps 6 --tune lr=3e-5,1e-4,3e-4 --tune_folds 2
}

kept() { # name, task, folder, options ...: what keeps SSIM in a few steps with a few pairs
  local own="init: primed:$2" name=$1 task=$2 folder=$3
  shift 3
  $gesso compare --task "$task" --data "$out/pairs/$folder" --pairs 16 --out "$out/$name" --arms "{average: {$own},
    ssim: {$own, loss: ssim}, rehearse: {$own, rehearse: 0.5}, ssim_rehearse: {$own, loss: ssim, rehearse: 0.5},
    wide: {$own, crop_size: 128, batch_size: 1}}" --finetune_args.ema_decay 0.95 --backbone nafnet_tiny --steps 60 \
    --val_every 10 --crop_size 64 --batch_size 4 --seeds 60,61,62 --finetune_args.warmup_steps 6 \
    --tune lr=3e-5,1e-4,3e-4 --tune_folds 2 "$@"
}

for question in "${@:-}"; do
  case $question in
    rain | "") ask rain nafnet_tiny derain derain_rain100h --starts random,$every --start_args "$photos" ;;&
    rain_masked | "") ask rain_masked nafnet_tiny derain derain_rain100h --starts random,maskdcpt.yaml ;;&
    haze | "") ask haze nafnet_tiny dehaze dehaze_sots_indoor --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    noise | "") ask noise nafnet_tiny realnoise noise_polyu --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    dark | "") ask dark nafnet_tiny lowlight lowlight_lol_train --folds 2 --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    rain_restormer | "") ask rain_restormer restormer_tiny derain derain_rain100h --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    paper | "") ask paper nafnet_tiny derain derain_rain100h --transfer paper --starts random,ifp.yaml,restore.yaml ;;&
    parts | "") ask parts nafnet_tiny derain derain_rain100h --starts random,$parts ;;&
    four | "") ask four nafnet_tiny derain derain_rain100h --pairs 4 --starts random,ifp.yaml,restore.yaml,restore_photos.yaml,task.yaml --start_args "$photos" ;;&
    push | "") ask push nafnet_tiny derain derain_rain100h --starts random,restore.yaml,restore_rings.yaml,restore_long.yaml ;;&
    rain_uformer | "") ask rain_uformer uformer_tiny derain derain_rain100h --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    task | "") ask task nafnet_tiny derain derain_rain100h --seeds 3,4,5,6,7 --starts random,task.yaml,task_kept.yaml,task_photos.yaml,restore_other.yaml --start_args "$task_photos" ;;&
    long | "") ask long nafnet_tiny derain derain_rain100h --steps 1600 --val_every 200 --starts random,ifp.yaml,task.yaml ;;&
    blur | "") ask blur nafnet_tiny deblur deblur_made --pairs 10,100 --starts random,ifp.yaml,task.yaml ;;&
    haze_folds | "") ask haze_folds nafnet_tiny dehaze dehaze_all --seeds 3,4,5,6,7 --folds 2 --starts random,task.yaml,task_many.yaml ;;&
    many | "") ask many nafnet_tiny derain derain_rain100h --seeds 8,9,10 --starts random,task.yaml,task_many.yaml,restore.yaml,restore_many.yaml ;;&
    twenty | "") ask twenty nafnet_tiny derain derain_all --seeds 11,12,13 --folds 6 --starts random,ifp.yaml,task.yaml ;;&
    hundred | "") ask hundred nafnet_tiny derain derain_made --pairs 10,20,100 --starts random,ifp.yaml,restore.yaml,task.yaml ;;&
    paper_long | "") ask paper_long nafnet_tiny derain derain_rain100h --transfer paper --steps 1600 --val_every 200 --starts random,ifp.yaml ;;&
    converged | "") ask converged nafnet_tiny derain derain_rain100h --seeds 0,1 --steps 6400 --val_every 800 --starts random,ifp.yaml,task.yaml ;;&
    converged_again | "") ask converged_again nafnet_tiny derain derain_rain100h --seeds 2,3,4 --steps 6400 --val_every 800 --starts random,ifp.yaml ;;&
    parts_more | "") ask parts_more nafnet_tiny derain derain_rain100h --starts random,$more --start_args "$scaled" ;;&
    photos | "") ask photos nafnet_tiny derain derain_rain100h --starts random,mfm_photos.yaml,dcpt_photos.yaml,ipt_photos.yaml,degae_photos.yaml --start_args "$pretexts_photos" ;;&
    push_task | "") ask push_task nafnet_tiny derain derain_rain100h --seeds 14,15,16 --starts random,$pushed ;;&
    lasting | "") ask lasting nafnet_tiny derain derain_rain100h --seeds 17,18,19 --steps 1600 --val_every 200 --starts random,task_long.yaml ;;&
    noise_long | "") ask noise_long nafnet_tiny realnoise noise_polyu --seeds 3,4,5 --starts random,task.yaml,task_long.yaml ;;&
    haze_long | "") ask haze_long nafnet_tiny dehaze dehaze_all --seeds 8,9,10 --folds 2 --starts random,task_long.yaml ;;&
    rings_long | "") ask rings_long nafnet_tiny derain derain_rain100h --seeds 23,24,25 --starts random,restore_rings.yaml,rings_long.yaml ;;&
    longer | "") ask longer nafnet_tiny derain derain_rain100h --seeds 20,21,22 --starts random,task_long.yaml,task_longest.yaml ;;&
    warm | "") ask warm nafnet_tiny derain derain_rain100h --finetune_args.warmup_steps 200 --starts random,ifp.yaml ;;&
    curve_first_rain | "") curve curve_first_rain derain curve_derain 16,64 primed:derain,mimetic ;;&
    curve_first_noise | "") curve curve_first_noise realnoise curve_realnoise 16,32 primed:realnoise,ifp.yaml --val_every 400 ;;&
    curve_first_haze | "") curve curve_first_haze dehaze curve_dehaze 16,60 primed:dehaze,ifp.yaml --val_every 400 ;;&
    curve_second_rain | "") curve curve_second_rain derain curve_derain 16,32,64 primed:derain,ifp.yaml --val_every 400 ;;&
    curve_second_haze | "") curve curve_second_haze dehaze curve_dehaze 32 primed:dehaze,ifp.yaml --val_every 400 ;;&
    few_rain | "") few_pairs few_rain derain curve_derain ;;&
    few_noise | "") few_pairs few_noise realnoise curve_realnoise ;;&
    short_rain | "") short short_rain derain curve_derain ;;&
    short_haze | "") short short_haze dehaze curve_dehaze ;;&
    short_noise | "") short short_noise realnoise curve_realnoise ;;&
    kept_rain | "") kept kept_rain derain curve_derain ;;&
    kept_haze | "") kept kept_haze dehaze curve_dehaze ;;&
    kept_noise | "") kept kept_noise realnoise curve_realnoise ;;&
    kept_rain_restormer | "") kept kept_rain_restormer derain curve_derain --backbone restormer_tiny --val_every 60 \
      --arms "{average: {init: primed}, ssim: {init: primed, loss: ssim}}" ;;&
    few_rain_restormer | "") best few_rain_restormer restormer_tiny derain curve_derain 60,61,62 ;;&
    best_rain | "") best best_rain restormer_tiny derain curve_derain 70,71,72 ;;&
    best_haze | "") best best_haze nafnet_tiny dehaze curve_dehaze 70,71,72 ;;&
    best_noise | "") best best_noise nafnet_tiny realnoise curve_realnoise 70,71,72 ;;&
    transfers | "") ask transfers nafnet_tiny derain derain_rain100h --starts random,$transfers ;;&
  esac
done
