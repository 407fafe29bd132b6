# The engine as an image: docker build -t tidegate . && docker run -v "$PWD/examples:/app:ro" tidegate run first.py
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY operators operators
COPY connectors connectors
ARG EXTRAS=arrow,kafka,uvloop,zstd
RUN python -m venv /opt/tidegate \
    && /opt/tidegate/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRAS}]"

FROM python:3.12-slim
COPY --from=build /opt/tidegate /opt/tidegate
# Checkpoints go to /state: mount a volume there, or they go with the container.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /app --shell /usr/sbin/nologin tidegate \
    && install --directory --owner=tidegate --group=tidegate /app /state
ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TIDEGATE_CHECKPOINTS=/state \
    TIDEGATE_METRICS_HOST=0.0.0.0 \
    TIDEGATE_METRICS_PORT=9464
USER tidegate
WORKDIR /app
VOLUME /state
EXPOSE 9464
# The metrics are served by the job's own event loop: an answer means that the loop turns.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['TIDEGATE_METRICS_PORT']}/metrics\", timeout=4).read()"]
# SIGTERM drains the job and takes a last checkpoint: give it time with `docker stop --time 60`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidegate"]
CMD ["--help"]
