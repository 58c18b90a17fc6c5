#!/bin/sh
# 2,000 CIFAR-10 images, a tanh MLP, full-batch gradient descent at the edge of stability.
# Usage: sh examples/cifar10.sh IMAGES [FOLDER]
# IMAGES has a folder of pictures per class, as torchvision's ImageFolder reads it.
set -eu
images=$1
folder=${2:-opsig-cifar10}
mkdir -p "$folder"
OPSIG_STORE=$folder/opsig.h5
export OPSIG_STORE

opsig train "$folder/run" --data "folder:$images?limit=2000&standardize=channel" \
  --model 'mlp?hidden=200,200&activation=tanh' --optimizer gd --lr 0.08 --steps 400 --save-every 1
opsig trace "$folder/run"
opsig sharpness --every 10
opsig mine --top 20 --export "$folder/groups.csv"
opsig report --html --output "$folder/report.html"
