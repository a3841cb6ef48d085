# Each target creates .venv by itself; a second call finds it ready.
# DATASET=cifar10 (or digits, cifar10-mat) chooses the data; by default CIFAR-10 if it is here.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
EXTRAS = $(VENV)/.extras
BOOK = $(VENV)/.book
LITE = $(VENV)/.lite
TEACHING = $(VENV)/.teaching
RUN = $(if $(DATASET),GRH_DATASET=$(DATASET)) $(BIN)/python
NBVAL = $(BIN)/python -m pytest -q -p no:cacheprovider --nbval-current-env --nbval-cell-timeout=600
# Two chapters at a time, each with one thread: the threads of both would get into each other's way.
SIDE_BY_SIDE = OMP_NUM_THREADS=1 $(NBVAL) -n 2 --dist loadfile
NOTEBOOKS = $(wildcard notebooks/[0-9]*.ipynb notebooks/appendix_*.ipynb notebooks/solutions/[0-9]*.ipynb)

.PHONY: run test test-cifar10 data notebooks exercises bench replicate book book-test stills lint clean \
        lite lite-check lite-test worksheet assignments assignments-test variants slides \
        offline-kit offline-kit-test

run: $(READY)            ## the whole experiment: data, LSH, GRH, figures and a table
	$(RUN) -m grh_helpers run

test: $(EXTRAS)           ## unit tests, then every notebook on the digits
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	GRH_DATASET=digits $(BIN)/python -m pytest -q
	GRH_DATASET=digits $(SIDE_BY_SIDE) --nbval-lax $(NOTEBOOKS)

test-cifar10: $(EXTRAS)   ## every stored output and recorded figure, on the real CIFAR-10
	GRH_DATASET=cifar10 $(BIN)/python -m grh_helpers run --check --output output/check
	GRH_DATASET=cifar10 $(NBVAL) --nbval $(NOTEBOOKS)

data: $(READY)           ## download CIFAR-10 (170 MB), verify it, compute GIST, cache both
	$(RUN) -m grh_helpers data

notebooks: $(EXTRAS)      ## run the notebooks again, in place
	$(RUN) notebooks/_build.py run

exercises: $(READY)      ## write the blank exercises from their solutions
	$(BIN)/python notebooks/_build.py exercises

bench: $(READY)          ## speed beside FAISS and the naive loops
	$(BIN)/python -m pip install -q -r benchmarks/requirements.txt
	$(RUN) -m benchmarks

replicate: $(READY)      ## the paper's tables, from the raw pictures (a quarter of an hour on CIFAR-10)
	$(RUN) -m benchmarks.replicate

book: $(BOOK)           ## the book from the stored notebooks, in book/_build/html; TEACHERS=1 adds the answers
	rm -rf book/_build
	$(BIN)/python book/stage.py $(if $(TEACHERS),--teachers) book/_build/stage
	$(BIN)/python -m sphinx -q -W --keep-going -d book/_build/doctrees book/_build/stage book/_build/html
	@echo "Open book/_build/html/index.html in a browser."

book-test: $(BOOK)      ## every page of the book in headless Chromium; fails where there is none
	GRH_BOOK_TEST=required $(BIN)/python -m pytest -q tests/test_book.py tests/test_live.py

stills: $(BOOK)         ## still pictures of the widgets, as their scripts draw them
	$(BIN)/python book/stills.py

worksheet: $(READY)      ## the pencil worksheet and its answers, as PDF
	$(BIN)/python teaching/worksheet.py

assignments: $(READY)    ## the exercises in nbgrader's format, in output/assignments
	$(BIN)/python teaching/assignments.py output/assignments

assignments-test: $(TEACHING)  ## nbgrader gives full marks to the answers and none to the blanks
	$(BIN)/python -m pytest -q -m slow tests/test_teaching.py -k nbgrader

variants: $(READY)       ## pencil questions with numbers of one's own: make variants SEED=7
	$(BIN)/python teaching/variants.py $(or $(SEED),0) output/variants

slides: $(READY)         ## slides from the stored notebooks, in output/slides
	$(BIN)/python teaching/slides.py output/slides

offline-kit: $(READY)    ## wheels, repository and a README for a room without network
	$(BIN)/python teaching/offline_kit.py output/offline-kit

offline-kit-test: offline-kit  ## install from the kit with the package index switched off
	$(BIN)/python -m pytest -q -m slow tests/test_teaching.py -k offline_kit

lite-check: $(READY)     ## all chapters as in a browser: no thread, no process, no network
	$(BIN)/python notebooks/_lite.py

lite: $(LITE)            ## an experiment: the chapters in a browser that runs Python, in output/lite
	$(BIN)/python book/lite.py output/lite
	@echo "Serve it with: python3 -m http.server --directory output/lite"

lite-test: $(LITE)       ## its kernel boots in headless Chromium and installs the helpers
	GRH_LITE_TEST=required $(BIN)/python -m pytest -q tests/test_lite.py

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) output book/_build

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, but %s is %d.%d; call make with PYTHON=python3.12, say." % (sys.executable, v[0], v[1]))'
	@echo "Installing the pinned packages into $(VENV); this takes a minute or two."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.txt
	@touch $@

$(EXTRAS): requirements-extras.txt $(READY)  # for chapters 9 and 10
	$(BIN)/python -m pip install -q -r $<
	@touch $@

$(LITE): book/requirements-lite.txt $(READY)
	$(BIN)/python -m pip install -q -r $<
	@touch $@

$(TEACHING): teaching/requirements.txt requirements-extras.txt $(READY)
	$(BIN)/python -m pip install -q -r $<
	@touch $@

$(BOOK): book/requirements.txt $(READY)
	$(BIN)/python -m pip install -q -r $<
	@touch $@
