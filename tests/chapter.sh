#!/usr/bin/env bash
# The chapter "Parameter Management" of Dive into Deep Learning, command by command, in an empty folder.
# SAMPLES is the folder of the sample models. https://d2l.ai/chapter_builders-guide/parameters.html
set -euo pipefail
: "${SAMPLES:?set SAMPLES to the folder sample_models}"
cp "$SAMPLES"/{mlp,rgnet,nest_mlp,chimera,fancy_mlp,tied_mlp}.yaml .

# --- Parameter access ---
paramctl init mlp.yaml -q                                   # net = Sequential([Flatten(), Dense(4, relu), Dense(1)])
paramctl dump mlp.h5 dense_1                                # net.layers[2].weights
paramctl dump mlp.h5 'layers[2].weights[1]'                 # net.layers[2].bias, by its place
paramctl dump mlp.h5 dense_1/bias                           # the same by its name
paramctl summary mlp.h5 --parameters                        # all parameters at once, net.get_weights()
paramctl dump mlp.h5 'weights[1]'                           # net.get_weights()[1]

# --- From nested blocks ---
paramctl summary rgnet.yaml                                 # print(rgnet.summary())
paramctl dump rgnet.yaml 'layers[0].layers[1].layers[1].weights[1]'   # the bias within the second block's second block
paramctl dump rgnet.yaml block2/block-1/dense/bias          # the same by its path

# --- Built-in initialization ---
paramctl init mlp.yaml --scheme normal:stddev=0.01 -o normal.h5       # RandomNormal(0.01), zero biases
paramctl dump normal.h5 dense
paramctl init mlp.yaml --scheme constant:1 -o constant.h5             # Constant(1)
paramctl dump constant.h5 dense
paramctl init mlp.yaml --rule dense/kernel=glorot --rule dense_1/kernel=constant:42 -o blocks.h5   # a scheme for each block
paramctl dump blocks.h5 '*/kernel'

# --- Custom initialization ---
paramctl init mlp.yaml --scheme '{mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}' -o custom.h5
paramctl dump custom.h5 'dense/kernel[:2]'
paramctl set custom.h5 'dense/kernel += 1' 'dense/kernel[0, 0] = 42' --in-place   # w += 1; w[0, 0] = 42
paramctl dump custom.h5 'dense/kernel[0]'

# --- Tied parameters ---
paramctl summary tied_mlp.yaml                              # one layer used twice: listed twice, counted once
paramctl init tied_mlp.yaml -o tied.h5 -q
paramctl set tied.h5 'layers[1].weights[0][0, 0] = 100' --in-place    # net.layers[1].weights[0][0, 0] = 100
paramctl dump tied.h5 'layers[2].weights[0][0, 0]'          # the other use has it too
paramctl init rgnet.yaml -o rgnet.h5 -q
paramctl tie rgnet.h5 block2/block-0/dense/kernel block2/block-1/dense/kernel --in-place   # two arrays become one
paramctl set rgnet.h5 'block2/block-1/dense/kernel[0, 0] = 100' --in-place
paramctl dump rgnet.h5 'block2/block-0/dense/kernel[0, 0]'
paramctl ties rgnet.h5

# --- Exercises: FancyMLP, NestMLP, the chimera ---
paramctl summary fancy_mlp.yaml --parameters                # 420 trained, 400 constant
paramctl init fancy_mlp.yaml --scheme he_normal -o fancy.h5 -q
paramctl diff fancy_mlp.yaml fancy.h5 || true               # the constant is as it was
paramctl summary chimera.yaml --depth 1
