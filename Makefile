# make demo, make test: all that a newcomer needs. Each sets up an environment of its own first.

PYTHON ?= python3
SAMPLES := sample_models

.PHONY: demo test interop lint man bench clean

demo: .venv/ready
	@PATH="$(CURDIR)/.venv/bin:$$PATH" sh -c 'set -e; \
	show() { printf "\n$$ %s\n" "$$*"; "$$@"; }; \
	show paramctl summary $(SAMPLES)/mlp.yaml; \
	show paramctl summary $(SAMPLES)/fancy_mlp.yaml --format tree --parameters; \
	show paramctl summary $(SAMPLES)/resnet50.yaml --depth 1; \
	show paramctl summary $(SAMPLES)/rgnet.yaml --parameters; \
	show paramctl summary $(SAMPLES)/gpt2.yaml --depth 1; \
	show paramctl summary $(SAMPLES)/llama3_8b.yaml block-0 --format tree'

test: .venv/ready
	.venv/bin/python -m pytest -n auto

interop: .venv-interop/ready
	.venv-interop/bin/python -m pytest tests/interop

lint: .venv-lint/ready
	.venv-lint/bin/ruff check
	.venv-lint/bin/ruff format --check
	.venv-lint/bin/mypy -p paramctl
	.venv-lint/bin/mypy man/generate.py

man: .venv/ready
	.venv/bin/python man/generate.py

bench: .venv/ready .venv-interop/ready
	KERAS_BACKEND=torch .venv/bin/python benchmarks/summary.py .venv-interop/bin/python
	KERAS_BACKEND=torch .venv/bin/python benchmarks/values.py .venv-interop/bin/python
	KERAS_BACKEND=torch .venv/bin/python benchmarks/checkpoints.py .venv-interop/bin/python

clean:
	rm -rf .venv .venv-interop .venv-lint

.venv/ready: EXTRA = test
.venv-interop/ready: EXTRA = interop
.venv-lint/ready: EXTRA = lint

.venv/ready .venv-interop/ready .venv-lint/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	touch $@
