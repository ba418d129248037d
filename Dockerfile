# brain-edge for CPUs: the thin runtime alone, no PyTorch, no shell needed, not root.
#
#   docker build -t brain-edge .
#   docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
#       --user "$(id -u):$(id -g)" -v "$PWD":/data brain-edge run deepbet-int8 head.nii.gz -o mask.nii.gz
#
# docs/how-to/air-gapped-install.md says how the image goes to a machine without network.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
COPY brain_edge brain_edge
COPY conversion conversion
COPY calibration_data calibration_data
# pip's own build environment is reached by the variable only
RUN PIP_CONSTRAINT=/src/constraints.txt python -m pip wheel --no-deps --wheel-dir /wheel .
RUN python -m venv --without-pip /opt/brain-edge \
 && python -m pip --python /opt/brain-edge/bin/python install --only-binary :all: \
        --constraint constraints.txt /wheel/*.whl

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="brain-edge" \
      org.opencontainers.image.description="Brain MRI segmentation on a CPU. Research use only, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/brain-edge /opt/brain-edge
# nothing is written but what the user names, below /data
ENV PYTHONDONTWRITEBYTECODE=1 BRAIN_EDGE_MODEL_CACHE=none
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["/opt/brain-edge/bin/brain-edge"]
CMD ["--help"]
