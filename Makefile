# make demo, make test: all that a newcomer needs. Each sets up its own environment first.
# make test DEPENDENCIES=oldest: with the lower bounds in pyproject.toml; newest: with the latest versions within them.

PYTHON ?= python3
SAMPLES := sample_models
DEPENDENCIES ?=
GROUPS ?=
VENV := .venv$(addprefix -,$(DEPENDENCIES))
IN_PARALLEL := -n auto --dist worksteal
PYTEST := $(VENV)/bin/python -m pytest $(IN_PARALLEL)
TORTURED := crash hostile hostile_checkpoints hostile_files npz edit save store dump verify

# The tests start Python some thousand times: without the compiled files, each start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test torture mutants interop lint man bench clean

demo: .venv/ready
	@PATH="$(CURDIR)/.venv/bin:$$PATH" sh -c 'set -e; \
	show() { printf "\n$$ %s\n" "$$*"; "$$@"; }; \
	show paramctl summary $(SAMPLES)/mlp.yaml; \
	show paramctl summary $(SAMPLES)/fancy_mlp.yaml --format tree --parameters; \
	show paramctl summary $(SAMPLES)/resnet50.yaml --depth 1; \
	show paramctl summary $(SAMPLES)/rgnet.yaml --parameters; \
	show paramctl summary $(SAMPLES)/gpt2.yaml --depth 1; \
	show paramctl summary $(SAMPLES)/llama3_8b.yaml block-0 --format tree'

test: $(VENV)/ready
	$(PYTEST)

torture: $(VENV)/ready
	PARAMCTL_TORTURE=1 $(PYTEST) $(TORTURED:%=tests/test_%.py)

mutants: $(VENV)/ready
	$(VENV)/bin/python -m tests.mutants

interop: .venv-interop/ready
	.venv-interop/bin/python -m pytest $(IN_PARALLEL) tests/interop

lint: .venv-lint/ready
	.venv-lint/bin/ruff check
	.venv-lint/bin/ruff format --check
	.venv-lint/bin/mypy -p paramctl
	.venv-lint/bin/mypy man/generate.py

man: .venv/ready
	.venv/bin/python man/generate.py

# make bench GROUPS='startup text' runs these alone; the page keeps the results of the others.
bench: .venv/ready .venv-interop/ready
	.venv/bin/python benchmarks/run.py $(GROUPS) --peers .venv-interop/bin/python

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-interop .venv-lint

.venv/ready .venv-oldest/ready .venv-newest/ready: EXTRA = test
.venv-interop/ready: EXTRA = interop
.venv-lint/ready: EXTRA = lint

.venv-oldest/ready: VERSIONS = --constraint $(@D)/constraints.txt
.venv-newest/ready: VERSIONS = --upgrade --upgrade-strategy eager

.venv/ready .venv-oldest/ready .venv-newest/ready .venv-interop/ready .venv-lint/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python .ci/constraints.py >$(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(VERSIONS) --editable '.[$(EXTRA)]'
	touch $@
