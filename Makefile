# `make demo` and `make test` set up what they need; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-isa test-min test-newest check audit lock docs primed-wheel format clean

# pip installs exactly what was tested; the stamp is renewed when the lists of packages change
.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

# one thread for each test process: threads that wait for a core by spinning take ten times as long
test test-isa test-min test-newest: export OMP_NUM_THREADS ?= 1
test test-isa test-min test-newest: export MKL_NUM_THREADS ?= 1

test: .venv/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# the suite with each set of instructions that this processor has, for PyTorch's own kernels and for oneDNN's
ISAS := default avx2 $(shell grep --quiet avx512vl /proc/cpuinfo && echo avx512)

test-isa: .venv/installed
	for isa in $(ISAS); do for onednn in AVX2 DEFAULT; do \
		echo "ATEN_CPU_CAPABILITY=$$isa ONEDNN_MAX_CPU_ISA=$$onednn"; \
		ATEN_CPU_CAPABILITY=$$isa ONEDNN_MAX_CPU_ISA=$$onednn \
			$(BIN)/pytest --numprocesses 2 --dist loadfile || exit 1; \
	done; done

# the oldest version of everything that pyproject.toml allows
.venv-min/installed: pyproject.toml constraints-min.txt
	test -d .venv-min || $(PYTHON) -m venv .venv-min
	.venv-min/bin/pip install --quiet --disable-pip-version-check --constraint constraints-min.txt --editable ".[dev]"
	touch $@

test-min: .venv-min/installed
	.venv-min/bin/pytest --numprocesses 2 --dist loadfile

# the newest version of everything, whatever the registry has by now (of torch a build for GPUs: gigabytes)
.venv-newest/installed: pyproject.toml
	test -d .venv-newest || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade --editable ".[dev]"
	touch $@

test-newest: .venv-newest/installed
	.venv-newest/bin/pytest --numprocesses 2 --dist loadfile

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .

# known vulnerabilities of what is installed, by the registry's list: not part of `check`, for it changes without us
audit: .venv/installed
	$(BIN)/pip-audit --skip-editable

# pylock.toml (PEP 751): the versions of constraints.txt, with hashes, for three platforms; needs uv. Of the extras it holds
# those that everybody uses: a lock of them all, uv.lock, has more than a megabyte
lock:
	mkdir -p build/lock
	{ sed -e '/^dev = \[/,/^\]/d' -e '/^\(clip\|sd\|perceptual\|wandb\|mlflow\) = /d' \
		-e 's/^requires-python = .*/requires-python = ">=3.11,<3.15"/' pyproject.toml; \
	  printf '\n[tool.uv]\nenvironments = [\n'; \
	  printf '  "sys_platform == '"'%s'"' and platform_machine == '"'%s'"'",\n' linux x86_64 darwin arm64 win32 AMD64; \
	  printf ']\nconstraint-dependencies = [\n'; \
	  sed -n 's/^\([A-Za-z][^ ]*==[^ ]*\).*/  "\1",/p' constraints.txt; \
	  echo ']'; } > build/lock/pyproject.toml
	uv lock --quiet --upgrade --project build/lock
	uv export --quiet --no-header --format pylock.toml --no-emit-project --extra compare --extra lab --extra tiff \
		--project build/lock --output-file $(CURDIR)/pylock.toml

# the site, into build/site; a broken link or reference is an error
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# larger primed networks, from a folder that `gesso primed add --out` fills, as a wheel of their own: build/primed/*.whl
PRIMED ?= runs/primed

primed-wheel: .venv/installed
	$(BIN)/python research/primed_wheel.py $(PRIMED) build/primed

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-min .venv-newest build dist *.egg-info runs/demo
