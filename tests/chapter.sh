#!/usr/bin/env bash
# The chapter "Parameter Management" of Dive into Deep Learning, and "Parameter Initialization" after it, as commands.
#
#   SAMPLES=sample_models bash tests/chapter.sh     in an empty folder, with paramctl on the PATH
#
# https://d2l.ai/chapter_builders-guide/parameters.html   init-param.html   model-construction.html
set -euo pipefail
: "${SAMPLES:?set SAMPLES to the folder sample_models}"
cp "$SAMPLES"/{mlp,rgnet,nest_mlp,chimera,fancy_mlp,tied_mlp}.yaml .

section() { printf '\n## %s\n' "$1"; }

section "Parameter access"
# net = Sequential([Flatten(), Dense(4, relu), Dense(1)]); net(X): the values are drawn, once and for all
paramctl init mlp.yaml -q
# net.summary(): 25 parameters
paramctl summary mlp.h5
# net.layers[2].weights: the kernel and the bias of the output layer
paramctl dump mlp.h5 dense_1
# net.layers[2].weights[1]: a targeted parameter, the bias, by its place
paramctl dump mlp.h5 'layers[2].weights[1]'
# the same by its name
paramctl dump mlp.h5 dense_1/bias
# type(net.layers[2].weights[1]): its shape, its dtype, whether it is trained
paramctl summary mlp.h5 dense_1/bias --parameters --columns path,shape,dtype,trainable --format csv
# net.get_weights(): all at once
paramctl dump mlp.h5 --format json
# net.get_weights()[1]: the second of them
paramctl dump mlp.h5 'weights[1]'

section "Parameters from nested blocks"
# rgnet = Sequential([block2(), Dense(1)]); rgnet.summary(): block2 holds block1 four times
paramctl summary rgnet.yaml
# rgnet.layers[0].layers[1].layers[1].weights[1]: first major block, second block in it, second layer, bias
paramctl dump rgnet.yaml 'layers[0].layers[1].layers[1].weights[1]'
# the same by its path
paramctl dump rgnet.yaml block2/block-1/dense/bias

section "Built-in initialization: normal"
# kernel_initializer=RandomNormal(mean=0, stddev=0.01), bias_initializer=Zeros()
paramctl init mlp.yaml --scheme normal:stddev=0.01 -o normal.h5 -q
# net.weights[0], net.weights[1]
paramctl dump normal.h5 'weights[0]' 'weights[1]'

section "Built-in initialization: constant"
# kernel_initializer=Constant(1), bias_initializer=Zeros()
paramctl init mlp.yaml --scheme constant:1 -o constant.h5 -q
# net.weights[0], net.weights[1]
paramctl dump constant.h5 'weights[0]' 'weights[1]'

section "Built-in initialization: different blocks"
# GlorotUniform() for the first layer, Constant(42) for the second
paramctl init mlp.yaml --rule dense/kernel=glorot --rule dense_1/kernel=constant:42 -o blocks.h5 -q
# print(net.layers[1].weights[0]); print(net.layers[2].weights[0])
paramctl dump blocks.h5 'layers[1].weights[0]' 'layers[2].weights[0]'
# the same by blocks: a scheme for all of block2, another for the layer after it
paramctl init rgnet.yaml --rule 'block2/**/kernel=glorot' --rule '-1/kernel=constant:42' --dry-run --format csv

section "Custom initialization"
# class MyInit(Initializer): U(5, 10) with probability 1/4, 0 with 1/2, U(-10, -5) with 1/4
paramctl init mlp.yaml --scheme '{mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}' -o custom.h5 -q
# print(net.layers[1].weights[0])
paramctl dump custom.h5 'layers[1].weights[0]'
# the book's own code: data = uniform(-10, 10); return data * (abs(data) >= 5)
cat > my_init.py <<'PYTHON'
def my_init(shape, dtype, generator):
    data = generator.uniform(-10, 10, shape)
    return data * (abs(data) >= 5)
PYTHON
paramctl init nest_mlp.yaml --scheme my_init.py:my_init -o python.h5 -q
# the first values of the first weight
paramctl dump python.h5 'weights[0][:4, :6]'

section "Parameters set directly"
# net.layers[1].weights[0][:].assign(net.layers[1].weights[0] + 1); net.layers[1].weights[0][0, 0].assign(42)
paramctl set custom.h5 'dense/kernel += 1' 'dense/kernel[0, 0] = 42' --in-place
# net.layers[1].weights[0]
paramctl dump custom.h5 'layers[1].weights[0]'

section "Tied parameters"
# shared = Dense(4, relu); net = Sequential([Flatten(), shared, shared, Dense(1)]): listed twice, counted once
paramctl summary tied_mlp.yaml
paramctl init tied_mlp.yaml -o tied.h5 -q
# net.layers[1].weights[0] == net.layers[2].weights[0]
cmp <(paramctl dump tied.h5 'layers[1].weights[0]') <(paramctl dump tied.h5 'layers[2].weights[0]') && echo "equal"
# net.layers[1].weights[0][0, 0] = 100: the same object, and not only equal values
paramctl set tied.h5 'layers[1].weights[0][0, 0] = 100' --in-place -q
# the other use has it too
paramctl dump tied.h5 'layers[2].weights[0][0, 0]'

section "Tied parameters: two arrays become one"
# in a file: what is set under one name is read under the other
paramctl init rgnet.yaml -o rgnet.h5 -q
paramctl tie rgnet.h5 block2/block-0/dense/kernel block2/block-1/dense/kernel --in-place
paramctl set rgnet.h5 'block2/block-1/dense/kernel[0, 0] = 100' --in-place -q
paramctl dump rgnet.h5 'block2/block-0/dense/kernel[0, 0]'
paramctl ties rgnet.h5 --format csv
# in a document: a line, and every comment stays
paramctl tie rgnet.yaml 0/0/1/kernel 0/1/1/kernel -o two.yaml
diff rgnet.yaml two.yaml || true
# they part again, with the values that they had
paramctl untie rgnet.h5 block2/block-1/dense/kernel --in-place
paramctl set rgnet.h5 'block2/block-0/dense/kernel[0, 0] = 1' --in-place -q
paramctl dump rgnet.h5 'block2/block-0/dense/kernel[0, 0]' 'block2/block-1/dense/kernel[0, 0]' --format csv

section "Exercises: FancyMLP"
# 420 parameters are trained; the constant R, drawn once from U(0, 1), has 400
paramctl summary fancy_mlp.yaml --parameters
# a scheme is for the weights that are trained, and R is as it was drawn
paramctl init fancy_mlp.yaml --scheme constant:7 -o fancy.h5 -q
paramctl dump fancy.h5 'shared/kernel[0, :3]'
paramctl dump fancy.h5 'constant/kernel[:2, :3]'
# so the two differ in the one and not in the other
paramctl diff fancy_mlp.yaml fancy.h5 --format csv || [ $? -eq 1 ]
# what is never trained: the 400 values of R, below a heading
paramctl dump fancy.h5 --frozen --format csv | wc -l

section "Exercises: the chimera"
# chimera = Sequential([NestMLP(), Dense(20), FancyMLP()])
paramctl init chimera.yaml -q
paramctl summary chimera.h5 --depth 1
# one bias of each value of it: those of 33 values and more
paramctl dump chimera.h5 '**/bias' --min-size 33 --format csv | tail -1

section "Running the network"
# net(X), with X = rand(2, 4)
paramctl run mlp.yaml --weights mlp.h5 --rows 2
# the chimera: a scalar
paramctl run chimera.yaml --weights chimera.h5 --rows 2 --format jsonl

section "Exercises: train with a shared layer"
# examples: four numbers and their sum
printf 'input: [4]\nlayers: [{identity: {name: x}}, {dense: {name: y, units: 1, kernel_initializer: ones}}]\n' > sum.yaml
paramctl run sum.yaml --rows 320 --taps x -o xy.npz
# each step's loss, and the parameters and gradients of the shared layer: their sum, and the share of each use
paramctl train tied_mlp.yaml --data xy.npz --watch shared --split-ties --epochs 20 --learning-rate 0.03 --format jsonl
