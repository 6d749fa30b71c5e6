"""Every package of the containers with its version, as pip resolved them; slow ones apart.

Made with `pip install --dry-run --report` for Python 3.11 on Linux from the packages that this
project asks for itself: torch, its kernels, the tokenizer, what reads pictures and sounds.
"""

CURRENT_TORCH = """
    cuda-bindings==13.5.0 cuda-pathfinder==1.9.0 cuda-toolkit==13.0.2 einops==0.8.2
    fa3-fwd==0.0.3 filelock==4.2.11 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4
    mpmath==1.3.0 networkx==3.6.1 ninja==1.13.2 numpy==2.4.6 nvidia-cublas==13.1.0.3
    nvidia-cuda-cupti==13.0.85 nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61 nvidia-cufile==1.15.1.6
    nvidia-curand==10.4.0.35 nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3
    nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9 nvidia-nvjitlink==13.0.88
    nvidia-nvshmem-cu13==3.4.5 nvidia-nvtx==13.0.85 packaging==26.3 setuptools==81.0.0
    sympy==1.14.0 torch==2.11.0 triton==3.6.0 typing-extensions==4.16.0
"""

CURRENT_REST = """
    anyio==4.16.0 audioread==3.1.0 boto3==1.44.5 botocore==1.44.5 certifi==2026.10.18 cffi==2.1.1
    charset-normalizer==3.5.2 click==8.5.1 cloudpickle==3.1.2 decorator==5.3.1 ftfy==6.3.1
    h11==0.16.0 hf-xet==1.8.0 httpcore2==2.16.2 httpx2==2.16.2 huggingface-hub==2.4.0 idna==3.20
    imageio-ffmpeg==0.6.0 jmespath==1.1.0 joblib==1.6.0 lazy-loader==0.6 librosa==0.11.0
    llvmlite==0.50.0 msgpack==1.2.4 narwhals==2.29.0 numba==0.68.1 pillow==12.0.0
    platformdirs==4.14.7 pooch==1.9.0 pycparser==3.12 python-dateutil==2.9.0.post0 pyyaml==6.0.3
    requests==2.34.2 s3transfer==0.19.3 scikit-learn==1.9.1 scipy==1.17.1 six==1.17.0
    soundfile==0.14.0 soxr==1.1.0 threadpoolctl==3.8.0 tokenizers==0.23.3 tqdm==4.70.1
    truststore==0.10.5 urllib3==2.8.0 wcwidth==0.9.4
"""

PROOF = """
    annotated-doc==0.0.7 annotated-types==0.8.0 diffusers==0.42.1 importlib-metadata==10.2.0
    lazy-importer==0.1.0 markdown-it-py==4.3.0 mdurl==0.1.2 pydantic==2.14.4 pydantic-core==2.50.5
    pygments==2.21.0 regex==2026.11.19 rich==15.0.0 safetensors==0.8.0 shellingham==1.5.4
    transformers==5.24.0 typer==0.29.2 typing-inspection==0.4.5 zipp==4.1.2
"""

CUDA121_TORCH = """
    einops==0.8.2 filelock==4.2.11 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4
    mpmath==1.3.0 networkx==3.6.1 ninja==1.13.2 numpy==1.26.4 nvidia-cublas-cu12==12.1.3.1
    nvidia-cuda-cupti-cu12==12.1.105 nvidia-cuda-nvrtc-cu12==12.1.105
    nvidia-cuda-runtime-cu12==12.1.105 nvidia-cudnn-cu12==9.1.0.70 nvidia-cufft-cu12==11.0.2.54
    nvidia-curand-cu12==10.3.2.106 nvidia-cusolver-cu12==11.4.5.107
    nvidia-cusparse-cu12==12.1.0.106 nvidia-nccl-cu12==2.20.5 nvidia-nvjitlink-cu12==12.9.86
    nvidia-nvtx-cu12==12.1.105 packaging==26.3 psutil==7.2.2 setuptools==75.8.0 sympy==1.14.0
    torch==2.4.1 triton==3.0.0 typing-extensions==4.16.0 wheel==0.48.0 xformers==0.0.28
"""

CUDA121_FLASH = "flash-attn==2.6.1"

CUDA121_REST = """
    audioread==3.1.0 boto3==1.44.5 botocore==1.44.5 certifi==2026.10.18 cffi==2.1.1
    charset-normalizer==3.5.2 cloudpickle==3.1.2 decorator==5.3.1 ftfy==6.3.1 hf-xet==1.8.0
    huggingface-hub==0.36.2 idna==3.20 imageio-ffmpeg==0.6.0 jmespath==1.1.0 joblib==1.6.0
    lazy-loader==0.6 librosa==0.11.0 llvmlite==0.50.0 msgpack==1.2.4 narwhals==2.29.0 numba==0.68.1
    pillow==12.0.0 platformdirs==4.14.7 pooch==1.9.0 pycparser==3.12 python-dateutil==2.9.0.post0
    pyyaml==6.0.3 requests==2.34.2 s3transfer==0.19.3 scikit-learn==1.9.1 scipy==1.17.1 six==1.17.0
    soundfile==0.14.0 soxr==1.0.0 threadpoolctl==3.8.0 tokenizers==0.21.4 tqdm==4.70.1
    urllib3==2.8.0 wcwidth==0.9.4
"""
