# distilsql: `make run` installs, fetches a model and starts; `make test` tests. `make help` lists the rest.

BIN := .venv/bin
SERVING := .venv/.installed-serving
DEV := .venv/.installed-dev
INSTALL_INPUTS := pyproject.toml constraints.txt scripts/venv scripts/install.py
BROWSERS := chromium chromium-browser google-chrome

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test test-tools check bench bench-distill editor clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(SERVING)  ## install into .venv what serving needs (no torch)

install-dev: $(DEV)  ## the same, and what the tests need

$(SERVING): $(INSTALL_INPUTS)
	@scripts/venv
	@$(BIN)/python scripts/install.py
	@touch $@

$(DEV): $(SERVING)
	@$(BIN)/python scripts/install.py dev train
	@touch $@

run: install  ## install, fetch this machine's model, start the server and its page
	@$(BIN)/distilsql models pull
	@exec $(BIN)/distilsql up

test: install-dev test-tools  ## every test: fast ones, real weights, a real browser
	$(BIN)/pytest

test-tools:
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exit 0; done; \
	echo "the browser tests need Chromium: apt install chromium (Debian), or put chromium on the PATH" >&2; exit 1
	@command -v node >/dev/null || \
	{ echo "the tests of the page's editor need Node.js: apt install nodejs (Debian)" >&2; exit 1; }
	@{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || \
	{ echo "the database tests need PostgreSQL's programs: apt install postgresql (Debian)" >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin" command -v mariadbd >/dev/null || \
	{ echo "the database tests need MariaDB's programs: apt install mariadb-server (Debian)" >&2; exit 1; }

check: install-dev  ## lint, format, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## measure latency and quality; the last line is JSON
	@$(BIN)/distilsql models pull qwen2.5-coder-0.5b >&2
	@$(BIN)/distilsql models pull qwen2.5-coder-1.5b >&2
	@$(BIN)/distilsql bench

bench-distill: install  ## measure capture, logit store and KD step; the last line is JSON
	@$(BIN)/python scripts/install.py train >&2
	@$(BIN)/distilsql models pull qwen2.5-coder-0.5b >&2
	@$(BIN)/distilsql models pull qwen2.5-coder-1.5b >&2
	@$(BIN)/distilsql distill bench

editor:  ## test and rebuild the page's editor from ui/editor (needs npm)
	cd ui/editor && npm ci && npm test && npm run build

clean:  ## remove the environment and what tools left
	rm -rf .venv build dist artifacts *.egg-info ui/editor/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
