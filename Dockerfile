# Two images: `docker build --target agent .` and `docker build --target collector .` (the last one, and the default).
#
# Only the build needs a package index; what it makes runs offline, as a user without privileges, on a root file system
# that may be read-only. The base is pinned by its full version. Where you can pull it, pin the digest as well:
#   docker buildx imagetools inspect python:3.13.11-slim-bookworm
FROM python:3.13.11-slim-bookworm AS base
# Mount volumes on these: one that begins empty takes owner and mode of the directory. There is no VOLUME line, because
# data must not end in a volume without a name: what has none fails on a read-only root, and says so.
RUN groupadd --system --gid 8427 leadline \
    && useradd --system --uid 8427 --gid leadline --no-create-home --home-dir /var/lib/leadline leadline \
    && install --directory --mode 0700 --owner leadline --group leadline /var/lib/leadline \
    && install --directory --mode 0750 --owner leadline --group leadline \
        /srv/leadline/database /srv/leadline/reader /srv/leadline/grafana /srv/leadline/administration \
        /srv/leadline/left /srv/leadline/right
ENV PATH=/opt/leadline/bin:$PATH \
    HOME=/var/lib/leadline \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

FROM base AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# Nothing but the dependencies and the wheel goes into these environments: no pip, no sources, no compiler.
FROM base AS agent-environment
COPY requirements/agent.txt /requirements.txt
RUN python -m venv --without-pip /opt/leadline \
    && pip --python /opt/leadline install --no-cache-dir --require-hashes -r /requirements.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/leadline install --no-cache-dir --no-deps --no-index /wheel/*.whl

FROM base AS collector-environment
COPY requirements/collector.txt /requirements.txt
RUN python -m venv --without-pip /opt/leadline \
    && pip --python /opt/leadline install --no-cache-dir --require-hashes -r /requirements.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/leadline install --no-cache-dir --no-deps --no-index /wheel/*.whl

# It sends echoes through datagram sockets, which need no capability where net.ipv4.ping_group_range includes group 8427:
# Docker opens it in every network of its own. On the host's network set it there, or run as root with NET_RAW alone.
FROM base AS agent
LABEL org.opencontainers.image.title="leadline agent" \
      org.opencontainers.image.description="Measures round trips between data centres"
COPY --from=agent-environment /opt/leadline /opt/leadline
ENV STATE_DIRECTORY=/var/lib/leadline
USER 8427:8427
# The agent writes about itself every minute.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["leadline", "agent", "status"]
ENTRYPOINT ["leadline"]
CMD ["agent", "run"]

FROM base AS collector
LABEL org.opencontainers.image.title="leadline collector" \
      org.opencontainers.image.description="Stores round trips between data centres and judges them by published limits"
COPY --from=collector-environment /opt/leadline /opt/leadline
ENV LEADLINE_DATA_DIR=/var/lib/leadline
USER 8427:8427
EXPOSE 8427
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["leadline", "collector", "ready"]
ENTRYPOINT ["leadline"]
CMD ["collector", "serve"]
