# Every target sets up by itself what it needs; see .ci/prepare. Nothing here reads standard input.

PYTHON ?= python3
BIN := .venv/bin

define DOCS_CHECK
import sys
sys.path.insert(0, "docs")
import make_reasons as reasons
if reasons.PAGE.read_text("utf-8") != reasons.page():
    sys.exit("docs/reasons.md is older than etl/reasons.py: make docs")
print("docs/reasons.md is up to date")
endef
export DOCS_CHECK

.DEFAULT_GOAL := help
.PHONY: help demo test faults check docs bench clean environment environment-for-tests

help: ## show these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r a b; do printf '%-12s %s\n' "$$a" "$$b"; done

demo: environment ## the whole path on embedded servers; nothing to set up
	@$(BIN)/etl demo

test: environment-for-tests ## the tests, but those marked long
	POLARS_MAX_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

faults: environment-for-tests ## the long proof by breaking it: hours; ETL_FAULTS_SEED=n goes on with other seeds
	@mkdir -p build
	ETL_FAULTS_FIGURES=$${ETL_FAULTS_FIGURES:-$(CURDIR)/build/faults.jsonl} $(BIN)/pytest -n 2 -m long --timeout 3000
	@PYTHONPATH=. $(BIN)/python -m tests.faults.figures $${ETL_FAULTS_FIGURES:-build/faults.jsonl}

check: environment ## style, types, import contracts, generated pages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy .ci/prepare
	$(BIN)/lint-imports
	@$(BIN)/python -c "$$DOCS_CHECK"

docs: environment ## write the generated pages anew
	$(BIN)/python docs/make_reasons.py

bench: environment-for-tests ## the benchmarks, one after the other
	@for file in benchmarks/bench_*.py; do [ -e "$$file" ] || continue; echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file" || exit 1; done

clean: ## remove the environment and every cache
	rm -rf .venv .venv.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@$(PYTHON) .ci/prepare

environment-for-tests:
	@$(PYTHON) .ci/prepare --tests
