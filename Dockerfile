# For machines with an NVIDIA GPU and its container toolkit:
#
#   docker build -t repre_mm . && docker run --gpus all --shm-size 8g -v "$PWD/data:/repre_mm/data" -it repre_mm
#
# It has not been built by the project's own tests. CUDA must be that of the locked torch (`torch.version.cuda`), since
# mmcv's ops are compiled with this image's nvcc; for pre-training alone, leave `setup-ops` out and any base will do.
FROM nvidia/cuda:13.0.1-devel-ubuntu22.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git make python3.10 python3.10-dev python3.10-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /repre_mm
COPY . .
# No GPU is visible while an image is built: name the generations that it is for (8.0: A100, 9.0: H100).
ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0;9.0" PYTHON=python3.10
RUN make setup-ops
ENV PATH="/repre_mm/.venv/bin:$PATH"
CMD ["bash"]
