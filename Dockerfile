# One image for `serve`, `keep`, `migrate` and `policy bootstrap`. It installs only what requirements.lock pins by hash, and
# contains nothing of service/development (.dockerignore).

ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS libraries
# Where pip finds the packages, for builds without a package index.
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
# requirements-console.lock for an image of the console too.
ARG LOCK=requirements.lock
WORKDIR /build
COPY requirements.lock requirements-console.lock ./
RUN python -m venv /opt/timewarden \
 && /opt/timewarden/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
      --requirement "$LOCK" \
 && /opt/timewarden/bin/pip uninstall --yes pip \
 && printf '#!/bin/sh\nexec /opt/timewarden/bin/python -m service "$@"\n' > /opt/timewarden/bin/timewarden \
 && printf '#!/bin/sh\nexec /opt/timewarden/bin/python -m service.standalone.verify "$@"\n' > /opt/timewarden/bin/timewarden-verify \
 && chmod 755 /opt/timewarden/bin/timewarden /opt/timewarden/bin/timewarden-verify

FROM ${BASE}
LABEL org.opencontainers.image.title="timewarden" \
      org.opencontainers.image.licenses="Apache-2.0"
# The directory is for the keeper's key and anchor. A volume mounted here inherits the owner.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin timewarden \
 && install --directory --owner=timewarden --group=timewarden --mode=0700 /var/lib/timewarden
COPY --from=libraries /opt/timewarden /opt/timewarden
WORKDIR /app
COPY LICENSE ./
COPY events/ events/
COPY policies/ policies/
COPY service/ service/
# Compile now, because the file system may be read-only at run time.
RUN /opt/timewarden/bin/python -m compileall -q service events
ENV PATH=/opt/timewarden/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TIMEWARDEN_HOST=0.0.0.0 \
    TIMEWARDEN_PORT=8080 \
    TIMEWARDEN_MANAGEMENT_ADDRESS=0.0.0.0:8081 \
    TIMEWARDEN_KEEPER_ADDRESS=0.0.0.0:8082 \
    TIMEWARDEN_POLICIES_DIRECTORY=/app/policies
USER 10001:10001
EXPOSE 8080
# Health is on 8081, for the container engine and probes. Do not publish it.
# The same check as `timewarden health`, without loading the service every ten seconds. Engines set the proxies of their
# configuration in every container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['TIMEWARDEN_MANAGEMENT_ADDRESS'].rpartition(':')[2] + '/health/ready', timeout=4)"]
CMD ["timewarden", "serve"]
