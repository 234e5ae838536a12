# The locked environment with bedtools, for `docker build -t marginome .`. By default with the CUDA build of PyTorch that
# pip takes on Linux; for one without CUDA (some 2 GB smaller) name the index of PyTorch's CPU wheels:
#   docker build -t marginome:cpu --build-arg TORCH_INDEX=<address of PyTorch's CPU wheels> .
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=""
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends bedtools git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /marginome
COPY requirements.lock ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.lock
COPY . ./
# not editable: the image is what it is
RUN pip install --no-cache-dir --no-deps ./workflow/lib && python envs/warm_numba.py

WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/marginome/Snakefile"]
CMD ["--help"]
