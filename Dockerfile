# Two images on one base: hpo (Ray nodes, the client and the MLflow server) and postgres.
#     docker compose build
# constraints.txt pins every Python package, and deploy/hashes their files. No layer holds a secret.
# By digest: docker build --build-arg BASE=debian@sha256:...
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS dependencies
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 hpo \
 && useradd --uid 10001 --gid hpo --create-home --shell /usr/sbin/nologin hpo
ENV PATH=/opt/hpo/bin:$PATH
WORKDIR /build
# An empty hpo stands in for the real one: this large layer is built again only when pyproject.toml or constraints.txt
# changes, not with every line of code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY deploy/hashes hashes
# With the hashes of this machine's kind (deploy/lock.py), pip refuses every other file; the rest is then there already,
# also setuptools, with which hpo itself is built: in an isolated build, pip would fetch one without a hash.
RUN mkdir hpo trainer \
 && echo '__version__ = "0"' > hpo/__init__.py \
 && touch trainer/__init__.py \
 && python3 -m venv /opt/hpo \
 && if [ -f "hashes/$(uname -m).txt" ]; then pip install --no-cache-dir --require-hashes --requirement "hashes/$(uname -m).txt"; fi \
 && pip install --no-cache-dir --constraint constraints.txt setuptools \
 && pip install --no-cache-dir --no-build-isolation --constraint constraints.txt '.[server]'


FROM dependencies AS package
# A new folder: setuptools would keep a file built above that is newer than its source.
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hpo hpo
COPY trainer trainer
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .


FROM dependencies AS hpo
COPY --from=package /wheels /wheels
RUN pip install --no-index --no-deps --force-reinstall /wheels/*.whl
COPY deploy/compose/entrypoint deploy/compose/ray-node deploy/compose/mlflow-server deploy/compose/hpo-client deploy/compose/preflight deploy/compose/check-url /usr/local/bin/
COPY deploy/compose/mlflow-auth.ini /etc/hpo/mlflow-auth.ini
# Mounted volumes take the owner of these folders.
RUN install --directory --owner=hpo --group=hpo /srv/hpo /data /var/lib/mlflow
COPY studies /srv/hpo/studies
ENV HPO_DATA_DIR=/data \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /srv/hpo
USER hpo
ENTRYPOINT ["entrypoint"]
CMD ["hpo", "--help"]


FROM ${BASE} AS postgres
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
