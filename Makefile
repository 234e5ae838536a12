# The two commands of the README are `make demo` and `make test`; both make the environment first.
.PHONY: demo test check env oracle plugins lock lint benchmark cuda kernels release clean
.DELETE_ON_ERROR:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
CORES ?= all

env: .venv/.complete

.venv/.complete: requirements.lock envs/setup.sh envs/warm_numba.py workflow/lib/pyproject.toml
	@bash envs/setup.sh

# Test oracles and tools that may not lie in one environment with ours: a folder of their own, in processes of their own.
# Of flash-attn only what is Python: Flashzoi's attention, whose kernels would need nvcc and a GPU.
oracle: .venv-oracle/.complete

.venv-oracle/.complete: tests/requirements-oracle.txt | .venv/.complete
	rm -rf .venv-oracle
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --target .venv-oracle -r $<
	FLASH_ATTENTION_FORCE_BUILD=TRUE FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE .venv/bin/python -m pip install -q \
		--disable-pip-version-check --no-deps --no-build-isolation --target .venv-oracle flash-attn==2.8.3.post2
	@touch $@

# Keras 2 comes with TensorFlow: another environment, for `make check` alone.
.venv-keras/.complete: tests/requirements-keras.txt | .venv/.complete
	rm -rf .venv-keras
	.venv/bin/python -m venv .venv-keras
	.venv-keras/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

# Snakemake's plugins for runs without a shared disk, and servers on loopback to try them with.
plugins: .venv-plugins/.complete

.venv-plugins/.complete: tests/requirements-plugins.txt | .venv/.complete
	rm -rf .venv-plugins
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --target .venv-plugins -r $<
	@touch $@

demo: env
	snakemake --cores $(CORES)
	@echo
	@echo "The results are in results/screens/: open results/index.html in a browser, or read results/README.md."

# LONG=1: with what takes longest too, as CI does.
test: env oracle plugins
	$(if $(LONG),MARGINOME_LONG=1) python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

lint: env
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow/rules && snakemake --lint

# Side by side with tangermeme, in one process each; tables of ratios and errors go to the terminal.
benchmark: env
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; python $$script $(BENCHMARK_ARGS) || exit 1; done

# What runs longer than a test may: random models against brute force, and damaged inputs, for MINUTES each; every
# operation of PyTorch, every release of JASPAR. Two at a time, an hour in all; what a script says comes when it ends.
# Each may take 8 GB: what asks for more is told that there is none, and does not take the machine's.
MINUTES ?= 12
SEED ?= 0
TIMED = damaged_inputs damaged_keras damaged_results damaged_weights config_fuzz keras_layers null_shapes \
	random_attributions random_models
CHECKS = every_operation jaspar_releases $(TIMED)
check: env oracle .venv-keras/.complete
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target $(CHECKS:%=check-%)

$(TIMED:%=check-%): GIVEN = --minutes $(MINUTES) --seed $(SEED)
check-keras_layers: GIVEN += --keras2 .venv-keras/bin/python
check-%:
	@echo "== $*"
	@ulimit -d 8388608 && OMP_NUM_THREADS=1 python tests/checks/$*.py $(GIVEN)

# Everything that needs a GPU, tests first, some four minutes. It runs with the python that is there (PYTHON=...), in no
# environment of ours; only files that have such tests are read, since others import what may not be there.
PYTHON ?= python3
cuda:
	PYTHONPATH=workflow/lib:$$PYTHONPATH $(PYTHON) -m pytest -m cuda $(PYTEST_ARGS) $$(grep -rl "mark.cuda" tests/unit)
	PYTHONPATH=workflow/lib:$$PYTHONPATH $(PYTHON) tests/benchmarks/bench_cuda.py $(BENCHMARK_ARGS)

# Compile every kernel that is offered, for GPUs that need not be here: registers, spills, instructions.
kernels: env oracle
	PYTHONPATH=workflow/lib:.venv-oracle python tests/gpu_kernels.py

# Pin what is installed now. +cpu is dropped: the same pin gives Linux users a CUDA build.
lock:
	.venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

# A release: checks that the version stands alike everywhere and that nothing is uncommitted, then tags and builds.
release: lint
	@test -z "$$(git status --porcelain)" || { echo "release: there are changes that are not committed"; exit 1; }
	python -m pytest -q tests/unit/test_package.py
	@version=$$(python -c "import marginome; print(marginome.__version__)"); \
		grep -q "^## $$version ([0-9]" CHANGELOG.md || { echo "release: give $$version its date in CHANGELOG.md"; exit 1; }; \
		git tag "v$$version" && python -m pip wheel -q --no-deps --no-build-isolation -w dist ./workflow/lib && \
		echo "release: v$$version is tagged, its wheel is in dist/; push it: git push origin v$$version"

clean:
	rm -rf results logs benchmarks .snakemake
