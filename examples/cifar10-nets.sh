#!/bin/sh
# Small networks on 1,000 or 2,000 CIFAR-10 images: which have pairs, and which only opposing classes.
# Usage: sh examples/cifar10-nets.sh IMAGES [FOLDER [SEED [NET ...]]]
# IMAGES has a folder of pictures per class, as torchvision's ImageFolder reads it. Ends with a table of all
# pairs, and which are findings; FOLDER/NET/report.html shows the pictures. About 20 minutes on one core; name nets to run only those.
set -eu
nets="resnet-batch-norm relu-mlp tanh-mlp vit vgg resnet-group-norm white-noise"
if [ $# -eq 0 ]; then
  echo "usage: sh $0 IMAGES [FOLDER [SEED [NET ...]]]; nets: $nets" >&2
  exit 2
fi
images=$1
folder=${2:-opsig-nets}
seed=${3:-0}
[ $# -gt 3 ] && shift 3 || set --
for name in "$@"; do
  case " $nets " in
  *" $name "*) ;;
  *)
    echo "error: expected a net of the list, found '$name'; the nets are: $nets" >&2
    exit 2
    ;;
  esac
done
wanted=" $* "

run() { # name, window, then the options of opsig train
  name=$1 window=$2
  shift 2
  case "$wanted" in "  " | *" $name "*) ;; *) return 0 ;; esac
  mkdir -p "$folder/$name"
  opsig train "$folder/$name/run" --optimizer gd --seed "$seed" "$@"
  opsig trace "$folder/$name/run" --store "$folder/$name/opsig.h5"
  opsig mine --store "$folder/$name/opsig.h5" --window "$window" --export "$folder/$name/groups.csv" --json \
    >"$folder/$name/mine.json"
  opsig report --store "$folder/$name/opsig.h5" --html --output "$folder/$name/report.html"
}

small="folder:$images?limit=1000&size=16&standardize=channel"
whole="folder:$images?limit=1000&standardize=channel"
# Beyond classes: the first oscillation by itself, later ones mix several pairs.
run resnet-batch-norm first --model 'resnet?norm=batch' --data "$small" --lr 0.05 --steps 160
run relu-mlp first --model 'mlp?hidden=200,200&activation=relu' --data "$whole" --lr 0.05 --steps 400
run tanh-mlp run --model 'mlp?hidden=200,200&activation=tanh' --lr 0.08 --steps 400 \
  --data "folder:$images?limit=2000&standardize=channel"
run vit first --model vit --data "$whole" --lr 0.05 --steps 200
# Classes only.
run vgg first --model vgg --data "$small" --lr 0.1 --steps 480
run resnet-group-norm run --model 'resnet?norm=group' --data "$small" --lr 0.05 --steps 200

# The negative control: inputs of white noise have no features to share, and no pairs.
mkdir -p "$folder"
python3 -c "
import sys, numpy
rng = numpy.random.default_rng(0)
x = rng.standard_normal((2000, 3, 32, 32)).astype('float32')
numpy.savez(sys.argv[1], x=x, y=numpy.repeat(numpy.arange(10), 200))" "$folder/noise.npz"
run white-noise run --model 'mlp?hidden=200,200&activation=tanh' --data "npz:$folder/noise.npz" --lr 0.08 --steps 300

python3 "$(dirname "$0")/findings.py" "$folder"/*/mine.json
