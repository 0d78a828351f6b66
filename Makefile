# make study     a first search, on data that needs no download
# make test      everything the tests need, and the tests
# make chapter   every figure of the chapter and the table of its claims, on MNIST
# make check     lint, format, types
# make secrets   passwords for docker-compose.yml, in .env
# make chaos     a long campaign of real kills (KILLS=500)

VENV   := .venv
PYTHON := $(VENV)/bin/python
PIP    := $(PYTHON) -m pip install --quiet --constraint constraints.txt

.PHONY: study chapter test check secrets chaos format clean

study: $(VENV)/.installed
	$(VENV)/bin/hpo run studies/digits.toml

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadgroup $(PYTEST)

chapter: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m chapter

check: $(VENV)/.installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

secrets:
	python3 deploy/make_secrets.py

chaos: $(VENV)/.installed-test
	HPO_CHAOS_KILLS=$${KILLS:-500} $(PYTHON) -m pytest tests/faults -s -k survives

format: $(VENV)/.installed-test
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean:
	rm -rf $(VENV)

# The stamps are newer than what they depend on, so a second use installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test,check]'
	touch $@
