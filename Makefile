# make study      a first search, on data that needs no download
# make test       the tests that a machine with Python, make and git can run, in a few minutes
# make test-all   all tests: MNIST, browser, containers, PyTorch, kills, the chapter; what is missing is skipped
# make quick      the tests of a moment: no Ray, no servers
# make check      lint, format, types
# make chapter    every figure of the chapter and the table of its claims, on MNIST
# make chaos      a long campaign of real kills (KILLS=500)
# make secrets    passwords for docker-compose.yml, in .env
# make format     formats the code
# make clean      removes the environment
#
# PYTEST adds to any of the test targets: make test PYTEST="tests/hpo/ledger -x"

VENV   := .venv
PYTHON := $(VENV)/bin/python
PIP    := $(PYTHON) -m pip install --quiet --constraint constraints.txt
TEST   := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadgroup
# What needs more than a bare machine or more than a minute; see the markers in pyproject.toml.
REST   := slow or mnist or browser or containers or torch or campaign or chapter
# Where the tests of `make quick` are.
QUICK  := tests/test_docs.py tests/test_import_rules.py tests/test_readme.py tests/trainer $(addprefix tests/hpo/,study samplers pruners search objective compare insight)

# Most tests write to a disk and wait for it; in memory, where 4 GB of it are free for files, they do not.
define in_memory
@free=$$(df -k /dev/shm 2>/dev/null | awk 'END {print $$4}'); \
	if [ "$${free:-0}" -ge 4000000 ]; then \
		TMPDIR=$$(mktemp -d /dev/shm/hpo-XXXXXX) && chmod 711 "$$TMPDIR" && export TMPDIR; \
		trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT TERM; \
	fi; \
	$(1)
endef

.PHONY: study test test-all test-rest quick check chapter chaos secrets format clean

study: $(VENV)/.installed
	$(VENV)/bin/hpo run studies/digits.toml

test: $(VENV)/.installed-test
	$(call in_memory,$(TEST) $(PYTEST))

test-all: $(VENV)/.installed-test
	HPO_TEST_DEPTH=full $(TEST) -m 'not experiment' $(PYTEST)

# What test-all adds to test; tests that look at more examples there are run again.
test-rest: $(VENV)/.installed-test
	HPO_TEST_DEPTH=full $(TEST) -m '($(REST) or hypothesis) and not experiment' $(PYTEST)

quick: $(VENV)/.installed-test
	$(call in_memory,$(TEST) -m 'not (processes or servers or $(REST) or experiment)' $(QUICK) $(PYTEST))

chapter: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m chapter

check: $(VENV)/.installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

secrets:
	python3 deploy/make_secrets.py

chaos: $(VENV)/.installed-test
	HPO_CHAOS_KILLS=$${KILLS:-500} $(PYTHON) -m pytest tests/faults -s -m campaign -k survives

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
