# The serving image: the whole one-machine system by default, Ray nodes of the chart by command.
#
#   docker build -t tapewatch:0.1.0 .
#   docker run -p 8000:8000 -v tapewatch:/data tapewatch:0.1.0
#
# Layers go from what changes rarely to what changes often: packages, compiled kernels, all other code.

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --copies /opt/tapewatch
COPY requirements-build.lock requirements.lock /src/
# everything is a wheel: no compiler comes in
RUN /opt/tapewatch/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: \
      -r /src/requirements-build.lock -r /src/requirements.lock \
 && find /opt/tapewatch -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +

FROM packages AS kernels
# where it is run from: numba looks for a kernel by its file's place and time
COPY features /opt/code/features
RUN PYTHONPATH=/opt/code NUMBA_CACHE_DIR=/opt/numba /opt/tapewatch/bin/python -c \
      "from features.warm import AssetClass, warm; warm(AssetClass.STOCKS); warm(AssetClass.CRYPTO)"

FROM kernels AS code
COPY pyproject.toml README.md LICENSE /src/
COPY grafana/dashboards /src/grafana/dashboards
COPY grafana/rules /src/grafana/rules
COPY training /src/training
COPY ray_apps /src/ray_apps
RUN /opt/tapewatch/bin/python -m pip install --quiet --no-deps --no-build-isolation --target /opt/code /src
# the few kernels that need the rest. All are copied to a writable place at the start: numba refuses a cache it cannot write
RUN PYTHONPATH=/opt/code NUMBA_CACHE_DIR=/opt/numba /opt/code/bin/tapewatch warm

FROM ${PYTHON} AS serve
# KubeRay's probes call wget; tini reaps what Ray's processes leave
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends wget tini > /dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --create-home --home-dir /home/tapewatch tapewatch \
 && mkdir /data /numba && chown tapewatch:tapewatch /data /numba
COPY --from=packages /opt/tapewatch /opt/tapewatch
COPY --chmod=755 k8s/image/entrypoint k8s/image/retire k8s/image/workers /usr/local/bin/
COPY --from=code /opt/code /opt/code
COPY --from=code /opt/numba /opt/numba
ENV PATH=/opt/tapewatch/bin:/opt/code/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/code PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/numba OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 \
    TAPEWATCH_DATA_DIR=/data TAPEWATCH_HTTP__HOST=0.0.0.0
LABEL org.opencontainers.image.title="tapewatch" \
      org.opencontainers.image.description="Watches a market bar by bar and says which bars are abnormal" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0"
USER 10001:10001
WORKDIR /home/tapewatch
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
  CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/healthz"]
ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/usr/local/bin/entrypoint"]
CMD ["tapewatch", "up"]
