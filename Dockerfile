# The course in a container, as a user without rights:
#
#   docker build -t step_llm .
#   docker run --rm -it -p 8888:8888 step_llm        then open the address that it prints
#
# What is written and trained goes with the container. To keep it:
#   -v step_llm-my:/home/learner/step_llm/my -v step_llm-runs:/home/learner/step_llm/runs
# Another command: docker run --rm -it step_llm make test-unit

FROM python:3.12-slim-bookworm AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git libgomp1 make wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash learner \
    && install --directory --owner learner --group learner /home/learner/step_llm
USER learner

FROM base AS course
WORKDIR /home/learner/step_llm
# The environment first: it is built again only when one of these files changes.
COPY --chown=learner:learner requirements*.txt ./
COPY --chown=learner:learner tools tools
RUN PIP_NO_CACHE_DIR=1 tools/setup.sh && mkdir my runs
COPY --chown=learner:learner . .
EXPOSE 8888
CMD ["make", "lab", "LAB_FLAGS=--ip=0.0.0.0 --no-browser"]
