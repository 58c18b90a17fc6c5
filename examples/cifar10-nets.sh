#!/bin/sh
# Small networks on 1,000 CIFAR-10 images: which of them have opposing outliers, and which only opposing classes.
# Usage: sh examples/cifar10-nets.sh IMAGES [FOLDER]
# IMAGES has a folder of pictures per class, as torchvision's ImageFolder reads it.
set -eu
images=$1
folder=${2:-opsig-nets}

run() { # name, window, then the options of opsig train
  name=$1 window=$2
  shift 2
  mkdir -p "$folder/$name"
  opsig train "$folder/$name/run" --optimizer gd "$@"
  opsig trace "$folder/$name/run" --store "$folder/$name/opsig.h5"
  opsig mine --store "$folder/$name/opsig.h5" --window "$window" --export "$folder/$name/groups.csv"
  opsig report --store "$folder/$name/opsig.h5" --html --output "$folder/$name/report.html"
}

small="folder:$images?limit=1000&size=16&standardize=channel"
whole="folder:$images?limit=1000&standardize=channel"
run resnet-batch-norm first --model 'resnet?norm=batch' --data "$small" --lr 0.05 --steps 160
run resnet-group-norm run --model 'resnet?norm=group' --data "$small" --lr 0.05 --steps 200
run vit first --model vit --data "$whole" --lr 0.05 --steps 200
run vgg first --model vgg --data "$small" --lr 0.1 --steps 300

# The negative control: inputs of white noise have no features to share, and no pairs.
python3 -c "
import sys, numpy
rng = numpy.random.default_rng(0)
x = rng.standard_normal((2000, 3, 32, 32)).astype('float32')
numpy.savez(sys.argv[1], x=x, y=numpy.repeat(numpy.arange(10), 200))" "$folder/noise.npz"
run white-noise run --model 'mlp?hidden=200,200&activation=tanh' --data "npz:$folder/noise.npz" --lr 0.08 --steps 300
