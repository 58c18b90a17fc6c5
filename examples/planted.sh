#!/bin/sh
# The whole way on the embedded data, in which the opposing pairs are known. Needs no download.
# Usage: sh examples/planted.sh [FOLDER]
set -eu
folder=${1:-opsig-demo}
mkdir -p "$folder"
OPSIG_STORE=$folder/opsig.h5
export OPSIG_STORE

opsig train "$folder/run"
opsig trace "$folder/run"
opsig sharpness --every 10
opsig mine --top 20
opsig report --html --output "$folder/report.html"
