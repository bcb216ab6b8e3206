# Two images: `docker build --target agent .` and `docker build --target collector .` (the last one, and the default).
#
# Only the build needs a package index. The images run offline, as an unprivileged user, and support a read-only root file
# system. The base image is pinned by its full version. If possible, pin the digest as well:
#   docker buildx imagetools inspect python:3.13.11-slim-bookworm
FROM python:3.13.11-slim-bookworm AS base
# Mount volumes on these directories. An empty volume takes owner and mode of the directory. There is no VOLUME line, so
# that data never ends up in an anonymous volume: without a volume, writes fail on a read-only root.
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
      org.opencontainers.image.version="0.2.0"

FROM base AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# These environments contain only the dependencies and the wheel: no pip, no sources, no compiler.
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

# The agent uses datagram ICMP sockets, which need no capability if net.ipv4.ping_group_range includes group 8427. Docker
# opens this range in its own networks. On the host network, set it on the host, or run as root with only NET_RAW.
FROM base AS agent
LABEL org.opencontainers.image.title="leadline agent" \
      org.opencontainers.image.description="Measures round-trip times between data centres"
COPY --from=agent-environment /opt/leadline /opt/leadline
ENV STATE_DIRECTORY=/var/lib/leadline
USER 8427:8427
# The agent writes its status every minute.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["leadline", "agent", "status"]
ENTRYPOINT ["leadline"]
CMD ["agent", "run"]

FROM base AS collector
LABEL org.opencontainers.image.title="leadline collector" \
      org.opencontainers.image.description="Stores round-trip times between data centres and evaluates them against published limits"
COPY --from=collector-environment /opt/leadline /opt/leadline
ENV LEADLINE_DATA_DIR=/var/lib/leadline
USER 8427:8427
EXPOSE 8427
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["leadline", "collector", "ready"]
ENTRYPOINT ["leadline"]
CMD ["collector", "serve"]
