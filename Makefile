# Two commands are all a newcomer needs: `make serve` and `make test`. Each sets up what it needs in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
SETUP := pyproject.toml setup.py constraints.txt $(shell find proto -name '*.proto')

.PHONY: help serve demo test test-slow image-test bench lint types proto constraints clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ResServe needs Python 3.11 or later; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

# $(call install,extras): the package in place, with the stubs that its build generates.
install = echo "Installing resserve[$(1)] into .venv (once)" && $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(1)]'

.venv/serve.stamp: $(SETUP) | $(BIN)/python
	@$(call install,cpu)
	touch $@

.venv/train.stamp: $(SETUP) | $(BIN)/python
	@$(call install,cpu$(,)train)
	touch .venv/serve.stamp $@

.venv/bench.stamp: $(SETUP) | $(BIN)/python
	@$(call install,cpu$(,)train$(,)bench)
	touch .venv/serve.stamp .venv/train.stamp $@

.venv/dev.stamp: $(SETUP) | $(BIN)/python
	@$(call install,cpu$(,)train$(,)bench$(,)dev)
	touch .venv/serve.stamp .venv/train.stamp .venv/bench.stamp $@

, := ,

# With nothing of your own in weights/, two models are trained on scikit-learn's digits, to have something to serve.
ifeq ($(wildcard weights/*/*/manifest.json),)
MODELS := weights/resnet50/1/manifest.json weights/vgg16_bn/1/manifest.json
endif

weights/resnet50/1/manifest.json: | .venv/train.stamp
	@$(BIN)/resserve train resnet50 --data digits --out runs/resnet50 --size 32 --epochs 8 --resume
	$(BIN)/resserve export runs/resnet50/checkpoint.pt --name resnet50

weights/vgg16_bn/1/manifest.json: | .venv/train.stamp
	@$(BIN)/resserve train vgg16_bn --data digits --out runs/vgg16_bn --size 32 --epochs 4 --lr 0.01 --resume
	$(BIN)/resserve export runs/vgg16_bn/checkpoint.pt --name vgg16_bn

serve: .venv/serve.stamp $(MODELS)  ## set up, train on digits if weights/ is empty, and serve
	@for picture in runs/digits/val/7/*.png; do
		[ ! -e "$$picture" ] || echo "In another terminal:  $(BIN)/resserve classify $$picture --model resnet50"
		break
	done
	$(BIN)/resserve serve

demo: .venv/bench.stamp $(MODELS)  ## the same, then classify held-out pictures with both models, compare, and stop
	@$(BIN)/python -m bench.demo

test: .venv/dev.stamp  ## every test but the slow proofs
	@$(BIN)/pytest

test-slow: .venv/dev.stamp  ## the slow proofs
	@$(BIN)/pytest -m slow --timeout 7200

image-test: .venv/dev.stamp  ## build the image and run the compose file (as root, with podman)
	@$(BIN)/pytest -m containers --timeout 900

bench: .venv/dev.stamp  ## the service against raw ONNX Runtime, with the bars it must reach
	@$(BIN)/python -m bench.limits

lint: .venv/dev.stamp  ## ruff and the import rules of the rooms
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/dev.stamp  ## mypy, strict on resserve/ and service/
	@$(BIN)/mypy

proto: .venv/dev.stamp  ## the gRPC stubs again
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt --no-deps -e .

constraints: .venv/dev.stamp  ## pin what is installed
	@{ echo "# Tested together; made by \`make constraints\`."; $(BIN)/pip freeze --exclude-editable | grep -v -E '^(pip|setuptools)=='; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove the environment, caches and stubs; weights/ and runs/ stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name '*_pb2*' -delete -o -name __pycache__ -prune -exec rm -rf {} +
