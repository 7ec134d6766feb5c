# The service. Targets: cpu (the default) and gpu. What trains and exports, torch among it, is in neither.
#   docker build -t resserve:cpu .
#   docker build -t resserve:gpu --target gpu .

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY proto proto
COPY resserve resserve
COPY service service
RUN python -m venv /opt/resserve

FROM build AS build-cpu
RUN /opt/resserve/bin/pip install -c constraints.txt ".[cpu]"

# The CUDA libraries come from the package index too; only the driver is the host's.
FROM build AS build-gpu
RUN /opt/resserve/bin/pip install -c constraints.txt ".[gpu]" "onnxruntime-gpu[cuda,cudnn]"

FROM python:3.11.14-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin resserve
ENV PATH=/opt/resserve/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    RESSERVE_HOST=0.0.0.0 \
    RESSERVE_REPOSITORY=/weights
USER 10001
EXPOSE 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m CMD ["resserve", "health"]
ENTRYPOINT ["resserve"]
CMD ["serve"]

FROM runtime AS gpu
COPY --from=build-gpu /opt/resserve /opt/resserve
ENV LD_LIBRARY_PATH=/opt/resserve/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/resserve/lib/python3.11/site-packages/nvidia/cudnn/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS cpu
COPY --from=build-cpu /opt/resserve /opt/resserve
