# The main job on CPUs: `docker build -t semantic-grpo . && docker run -it -v semantic-grpo:/project semantic-grpo`.
# Ctrl-C and `docker stop --time 120` end it after an update; the same command goes on.
# Not built by its authors, who had no docker: docs/install.md says what was tried.
# An index with CPU builds of torch: docker build --build-arg PIP_ARGS="--extra-index-url ..." .
FROM python:3.11-slim-bookworm

# make and npm: the Makefile, and one of the corpora; apt-get and dpkg, for the others, are there
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make npm \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /semantic-grpo
COPY . .
ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN make install PIP_ARGS="$PIP_ARGS"

# downloads, models and runs are in one place, which outlives the container and belongs to a user without rights
RUN useradd --uid 1000 --create-home learner && mkdir -p /project/runs && chown -R 1000 /project && ln -s /project/runs runs
ENV SEMANTIC_GRPO_CACHE=/project/cache
USER 1000
VOLUME /project
CMD ["make", "train"]
