# One image for agent and collector. Build it where a package index is reachable; it runs offline.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/leadline
COPY requirements/ requirements/
RUN /opt/leadline/bin/pip install --no-cache-dir --require-hashes -r requirements/collector.txt \
    && /opt/leadline/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY . .
RUN /opt/leadline/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 8427 --create-home --home-dir /var/lib/leadline leadline
COPY --from=build /opt/leadline /opt/leadline
USER leadline
ENV PATH=/opt/leadline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LEADLINE_DATA_DIR=/var/lib/leadline/collector \
    STATE_DIRECTORY=/var/lib/leadline/agent
VOLUME /var/lib/leadline
ENTRYPOINT ["leadline"]
CMD ["--help"]
