# Two images on one base: hpo (Ray nodes, the client and the MLflow server) and postgres.
#     docker compose build
# Every Python package is pinned by constraints.txt; nothing secret is in any layer.

FROM debian:bookworm-slim AS dependencies
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 hpo \
 && useradd --uid 10001 --gid hpo --create-home --shell /usr/sbin/nologin hpo
ENV PATH=/opt/hpo/bin:$PATH
WORKDIR /build
# Nothing of hpo but its name, so that this large layer lasts until one of these two files changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir hpo trainer \
 && touch hpo/__init__.py trainer/__init__.py \
 && python3 -m venv /opt/hpo \
 && pip install --no-cache-dir --constraint constraints.txt '.[server]'


FROM dependencies AS package
# A folder without what was built above: setuptools keeps a built file that is newer than its source.
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hpo hpo
COPY trainer trainer
RUN pip wheel --no-deps --wheel-dir /wheels .


FROM dependencies AS hpo
COPY --from=package /wheels /wheels
RUN pip install --no-index --no-deps --force-reinstall /wheels/*.whl
COPY deploy/compose/entrypoint deploy/compose/ray-node deploy/compose/mlflow-server deploy/compose/hpo-client deploy/compose/preflight deploy/compose/check-url /usr/local/bin/
COPY deploy/compose/mlflow-auth.ini /etc/hpo/mlflow-auth.ini
# Folders that volumes are mounted on take their owner from here.
RUN install --directory --owner=hpo --group=hpo /srv/hpo /data /var/lib/mlflow
COPY studies /srv/hpo/studies
ENV HPO_DATA_DIR=/data \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /srv/hpo
USER hpo
ENTRYPOINT ["entrypoint"]
CMD ["hpo", "--help"]


FROM debian:bookworm-slim AS postgres
RUN groupadd --gid 10002 postgres \
 && useradd --uid 10002 --gid postgres --home-dir /var/lib/postgresql --shell /usr/sbin/nologin postgres \
 && apt-get update \
 && apt-get install --yes --no-install-recommends postgresql-15 \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/15 \
 && install --directory --owner=postgres --group=postgres /var/run/postgresql
COPY deploy/compose/postgres-server /usr/local/bin/
COPY deploy/compose/pg_hba.conf /etc/hpo/pg_hba.conf
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
WORKDIR /var/lib/postgresql
USER postgres
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-server"]
