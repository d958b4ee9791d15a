# One task runner. Recipes are one-line calls; what they do is in tools/.
.DEFAULT_GOAL := help
.PHONY: help build demo test lint fix bench docs golden wheel soak fuzz
PY := .venv/bin/python

help: ## list the targets
	@python3 tools/help.py

build: ## set up .venv with locked dependencies, the Rust core and the roomtape command
	@python3 tools/build.py

demo: build ## publish two people, record them, kill a worker, check every frame of the files
	@.venv/bin/roomtape demo

test: build ## all checks: lint, rust, unit, integration, acceptance, wheel
	@$(PY) tools/check.py

lint: build ## linters, types, import contract, rustfmt, clippy
	@$(PY) tools/check.py lint

fix: build ## what the linters and formatters can mend by themselves
	@$(PY) tools/check.py fix

bench: build ## the benchmarks; results with machine, date and commit
	@$(PY) tools/bench.py

docs: build ## generate docs/actions.md, docs/settings.md, docs/api/ and the status table of the README
	@$(PY) tools/docs.py

golden: build ## rewrite the golden answers from the present code
	@$(PY) tools/golden.py

wheel: build ## the abi3 wheel, in dist/
	@$(PY) tools/wheel.py

soak: build ## long fault runs
	@$(PY) tools/check.py soak

fuzz: build ## every parser against mutated input, ten minutes each
	@$(PY) tools/fuzz.py
